//! `countersign trust show`: services of trust roots.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::output::{self, Format};
use super::super::{Error, Exit, input, surroundings};
use crate::decision::escaped;
use crate::settings::TrustRootFlag;
use crate::trust::{Believed, DescribedLog, Description, EMBEDDED, Operator, TrustMaterial};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema_version: u32,
    roots: Vec<Description>,
}

pub(super) fn run(roots: &[TrustRootFlag], format: Format) -> Result<Exit, Error> {
    let embedded = |name: &str| TrustMaterial::embedded(name).map_err(|error| Error::Usage(error.to_string()));
    let materials: Vec<TrustMaterial> = if roots.is_empty() {
        EMBEDDED.iter().map(|name| embedded(name)).collect::<Result<_, _>>()?
    } else {
        let read = |TrustRootFlag { name, file }: &TrustRootFlag| match file {
            None => embedded(name),
            Some(file) => {
                TrustMaterial::parse(name, &input::read(file)?).map_err(|error| input::unreadable(file, &error))
            }
        };
        roots.iter().map(read).collect::<Result<_, _>>()?
    };
    let roots: Vec<Description> = materials.iter().map(TrustMaterial::describe).collect();
    match format {
        Format::Json => output::print_json(&Shown { schema_version: 1, roots })?,
        Format::Text => {
            let mut text = String::new();
            for root in &roots {
                write_root(&mut text, root).map_err(|error| surroundings("writing the result", &error))?;
            }
            output::print(&text)?;
        }
    }
    Ok(Exit::Allowed)
}

/// Writes a root for people.
pub(super) fn write_root(text: &mut String, root: &Description) -> std::fmt::Result {
    writeln!(text, "{}  {}", root.name, root.digest)?;
    for authority in &root.certificate_authorities {
        let sha256 = authority.sha256.as_ref().map_or_else(String::new, ToString::to_string);
        writeln!(text, "  certificate authority  {}", escaped(&authority.subject))?;
        writeln!(text, "    {sha256}  {}", window(authority.believed))?;
    }
    for (kind, logs) in [("log", &root.logs), ("certificate log", &root.certificate_logs)] {
        for DescribedLog { address, key_id, operator, believed } in logs {
            writeln!(text, "  {kind}  {}{}", escaped(address), run_by(operator))?;
            writeln!(text, "    key id {key_id}  {}", window(*believed))?;
        }
    }
    for authority in &root.timestamp_authorities {
        let sha256 = authority.sha256.as_ref().map_or_else(|| "any signer of it".to_owned(), ToString::to_string);
        writeln!(text, "  timestamp authority  {}{}", escaped(&authority.address), run_by(&authority.operator))?;
        writeln!(text, "    {sha256}  {}", window(authority.believed))?;
    }
    for unusable in &root.unusable {
        writeln!(text, "  not used: {}", escaped(unusable))?;
    }
    Ok(())
}

fn run_by(operator: &Operator) -> String {
    if operator.is_stated() { format!("  (run by {})", escaped(&operator.to_string())) } else { String::new() }
}

fn window(Believed { from, until }: Believed) -> String {
    match (from, until) {
        (None, None) => "always".to_owned(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    }
}
