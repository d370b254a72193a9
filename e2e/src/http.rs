//! Plain HTTP to loopback, past any proxy of the machine, and never for longer than a hang guard.

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A client. Statuses from 400 on are errors.
pub(crate) fn client() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).timeout_global(Some(LIMIT)).build().new_agent()
}
