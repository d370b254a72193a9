//! Plain HTTP to loopback, past any proxy of the machine, and never for longer than a hang guard.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

const LIMIT: Duration = Duration::from_secs(30);

/// Serves the files of a log's folder as the log's tiles; the URL. Whoever runs a log of the second version puts a server of files before
/// it: what takes entries in does not serve them. The thread ends with the process.
pub(crate) fn serve_tiles(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port for the tiles")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever does not get an answer asks again.
            let _ = answer(&stream, &folder);
        }
    });
    Ok(url)
}

fn answer(mut stream: &TcpStream, folder: &Path) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).and_then(|path| path.strip_prefix("/api/v2/"));
    let path = path.filter(|path| path.split('/').all(|part| !part.is_empty() && part != ".."));
    let found = path.and_then(|path| fs::read(folder.join(path)).ok());
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    Ok(())
}

/// A client. Statuses from 400 on are errors.
pub(crate) fn client() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).timeout_global(Some(LIMIT)).build().new_agent()
}
