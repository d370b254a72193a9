//! `countersign crd`: the custom resource definitions as YAML, from the Rust types.

use super::{Error, Exit, output, surroundings};
use crate::api;

pub(super) fn run() -> Result<Exit, Error> {
    for definition in api::custom_resource_definitions() {
        let text =
            serde_saphyr::to_string(&definition).map_err(|error| surroundings("writing the definition", &error))?;
        output::print(&format!("---\n{}\n", text.trim_end()))?;
    }
    Ok(Exit::Allowed)
}
