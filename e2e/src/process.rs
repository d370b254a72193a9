//! Child processes that end with us, whatever happens to us; free ports; waiting with a limit.
//!
//! A [`Process`] runs in a process group of its own under a small shell watchdog, which holds the read end of a pipe from us. When the
//! pipe closes, because the `Process` was dropped or because we died by any signal, the watchdog ends the child: TERM, a moment, KILL.
//! So statics, panics, `exit` and `kill -9` are all covered without unsafe code.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};

/// Between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(20);
/// The watchdog kills after 5 s; past this it is itself killed.
const END_LIMIT: Duration = Duration::from_secs(10);
/// A hang guard for commands that take well under a second.
const COMMAND_LIMIT_SECONDS: &str = "60";
/// How often other ports are tried, if a program ends before it is ready.
const PORT_ATTEMPTS: usize = 3;

/// The child is started before TERM is ignored, since it would inherit that. The shell reports the child's exit status as its own.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
trap '' TERM
{
    cat <&3
    kill -TERM "$child"
    n=0
    while [ "$n" -lt 50 ] && kill -0 "$child"; do n=$((n + 1)); sleep 0.1; done
    kill -KILL 0
} >/dev/null 2>&1 &
watchdog=$!
exec 3<&-
wait "$child"
status=$?
kill -KILL "$watchdog"
exit "$status"
"#;

/// A running program, ended when dropped. Its output goes to a log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What became of waiting for a process to be ready.
#[derive(Debug)]
pub enum Readiness {
    /// It is ready.
    Ready,
    /// It ended before; the error tells its status and its last words.
    Ended(Error),
}

impl Process {
    /// Starts `command` under the watchdog; `NAME.log` in `logs` takes its output.
    pub fn start(name: &str, command: &Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut watched = Command::new("sh");
        watched
            .args([OsStr::new("-c"), OsStr::new(WATCHDOG), OsStr::new(name), command.get_program()])
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => watched.env(variable, value),
                None => watched.env_remove(variable),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            watched.current_dir(folder);
        }
        let child = watched.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `check` succeeds. Running out of time is an error, which tells the last failure of `check`.
    pub fn wait_until(&mut self, limit: Duration, mut check: impl FnMut() -> Result<()>) -> Result<Readiness> {
        let start = Instant::now();
        loop {
            let checked = check();
            if let Some(status) = self.child.try_wait()? {
                return Ok(Readiness::Ended(anyhow!("{} ended early: {status}\n{}", self.name, self.log_tail(20))));
            }
            match checked {
                Ok(()) => return Ok(Readiness::Ready),
                Err(error) if start.elapsed() > limit => {
                    let waited = limit.as_secs();
                    return Err(error.context(format!(
                        "{} is not ready after {waited} s\n{}",
                        self.name,
                        self.log_tail(20)
                    )));
                }
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// What the program wrote so far, standard output and standard error together.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of the log, indented for a message.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let mut tail = format!("  last lines of {}:", self.log.display());
        for line in all.iter().skip(all.len().saturating_sub(lines)) {
            let _ = write!(tail, "\n  | {line}");
        }
        tail
    }

    /// Ends the program: TERM, a moment, KILL. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }

    /// Ends the program without a word, as the end of its machine would.
    pub fn kill(mut self) -> Result<()> {
        // The group is the child's own; it holds the program and its watchdog.
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-KILL", "--", &group]).status().context("cannot run kill")?;
        if !status.success() {
            bail!("{} cannot be killed: {status}", self.name);
        }
        self.child.wait()?;
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while start.elapsed() < END_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody to tell, and the watchdog goes on without us.
        let _ = self.end();
    }
}

/// Starts a program that has to be told its ports, and waits until it is ready. If it ends before that, another process may have taken
/// a port in the meantime: it is tried again with others.
pub fn start_on_free_ports<const N: usize>(
    name: &str,
    logs: &Path,
    limit: Duration,
    command: impl Fn([u16; N]) -> Result<Command>,
    check: impl Fn([u16; N]) -> Result<()>,
) -> Result<(Process, [u16; N])> {
    let mut attempt = 1;
    loop {
        let ports = free_ports()?;
        let mut process = Process::start(name, &command(ports)?, logs)?;
        match process.wait_until(limit, || check(ports))? {
            Readiness::Ready => return Ok((process, ports)),
            Readiness::Ended(error) if attempt == PORT_ATTEMPTS => return Err(error),
            Readiness::Ended(_) => attempt += 1,
        }
    }
}

/// Ports on loopback that are free now, all different.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut listeners = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener); // held until all are chosen
    }
    Ok(ports)
}

/// Looks until `look` finds something, or the limit passes; errors of `look` end the wait.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("gave up after {} s: {what}", limit.as_secs());
        }
        sleep(PAUSE);
    }
}

/// How a command that ran to its end fared.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command as one would type it, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Outcome {
    /// The outcome of a command that had to succeed.
    pub fn success(self) -> Result<Self> {
        if self.status.success() { Ok(self) } else { Err(self.unexpected()) }
    }

    /// An error that shows everything, for an outcome that should not be.
    pub fn unexpected(&self) -> Error {
        let Self { command, status, stdout, stderr } = self;
        anyhow!("{command}: {status}\n{}", indent(&format!("{stdout}{stderr}")))
    }
}

/// Runs a short command to its end, with `input` on its standard input, under a time limit that outlives us.
pub fn run(command: &Command, input: &[u8]) -> Result<Outcome> {
    let typed = typed(command);
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=1", COMMAND_LIMIT_SECONDS]).arg(command.get_program()).args(command.get_args());
    limited.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(variable, value),
            None => limited.env_remove(variable),
        };
    }
    let mut child = limited.spawn().with_context(|| format!("cannot run {typed}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading its input has its reasons, which its status tells.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().with_context(|| format!("cannot run {typed}"))?;
    Ok(Outcome {
        command: typed,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Indents each line, to set quoted output apart.
pub fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one line of shell that first tells its process id.
    fn shell(script: &str) -> (tempfile::TempDir, Process, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("echo pid $$; {script}"));
        let mut process = Process::start("child", &command, folder.path()).unwrap();
        let log = folder.path().join("child.log");
        let readiness = process.wait_until(Duration::from_secs(10), || {
            let log = fs::read_to_string(&log)?;
            if log.contains("ready") { Ok(()) } else { Err(anyhow!("not ready")) }
        });
        assert!(matches!(readiness, Ok(Readiness::Ready)), "{readiness:?}");
        let pid = process.log().lines().next().and_then(|line| line.strip_prefix("pid ").map(str::to_owned)).unwrap();
        (folder, process, Path::new("/proc").join(pid))
    }

    /// Gone, or a zombie that process 1 has not reaped yet.
    fn has_ended(proc: &Path) -> bool {
        fs::read_to_string(proc.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    }

    #[test]
    fn ends_with_its_owner() {
        let (_folder, process, proc) = shell("echo ready; exec sleep 1000");
        assert!(!has_ended(&proc));
        drop(process);
        assert!(has_ended(&proc));
    }

    #[test]
    fn kills_what_ignores_termination() {
        let (_folder, process, proc) = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
        drop(process);
        assert!(has_ended(&proc));
    }

    #[test]
    fn ends_when_the_owner_is_killed() {
        // The owner is the writer of a pipeline: a program that holds the only write end of the watchdog's pipe, and is killed.
        let folder = tempfile::tempdir().unwrap();
        let mut pipeline = Command::new("sh");
        pipeline.arg("-c").arg(
            r#"sh -c 'echo $$ >owner; exec sleep 1000' | sh -c "$WATCHDOG" watchdog sh -c 'echo $$ >child; exec sleep 1000'"#,
        );
        pipeline.env("WATCHDOG", WATCHDOG).current_dir(&folder).process_group(0).stderr(Stdio::null());
        let mut pipeline = pipeline.spawn().unwrap();
        let pid = |file: &str| {
            eventually("a process id", Duration::from_secs(10), || {
                Ok(fs::read_to_string(folder.path().join(file)).ok().filter(|pid| pid.ends_with('\n')))
            })
        };
        let child = Path::new("/proc").join(pid("child").unwrap().trim());
        assert!(!has_ended(&child));
        let kill = format!("kill -KILL {}", pid("owner").unwrap());
        run(Command::new("sh").args(["-c", &kill]), &[]).unwrap().success().unwrap();
        eventually("the child's end", Duration::from_secs(10), || Ok(has_ended(&child).then_some(()))).unwrap();
        pipeline.wait().unwrap();
    }

    #[test]
    fn reports_an_early_end_with_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let command = |script: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            command
        };
        let mut process = Process::start("child", &command("echo cannot bind; exit 7"), folder.path()).unwrap();
        let readiness = process.wait_until(Duration::from_secs(10), || Err(anyhow!("not ready"))).unwrap();
        let Readiness::Ended(error) = readiness else { panic!("ready?") };
        assert!(error.to_string().contains("exit status: 7"), "{error}");
        assert!(error.to_string().contains("cannot bind"), "{error}");
    }
}
