//! The time that a review has: the API server's own deadline less a margin for the way back.
//!
//! The API server puts `timeoutSeconds` into the query as a Go duration, `?timeout=10s`.

use std::time::Duration;

/// The margin that is kept for the answer's way back.
const MARGIN: Duration = Duration::from_millis(500);
/// The longest time that Kubernetes lets a webhook have.
const LONGEST: Duration = Duration::from_secs(30);

/// The budget of a review: the parameter's value less a margin, or `fallback` where it is absent or not a duration.
pub(super) fn budget(parameter: Option<&str>, fallback: Duration) -> Duration {
    let Some(timeout) = parameter.and_then(parse) else { return fallback };
    let timeout = timeout.min(LONGEST);
    timeout.saturating_sub(MARGIN.min(timeout / 4))
}

/// A Go duration of whole hours, minutes, seconds and milliseconds.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let (unit, tail) = match tail {
            _ if tail.starts_with("ms") => (Duration::from_millis(1), tail.get(2..)?),
            _ if tail.starts_with('h') => (Duration::from_hours(1), tail.get(1..)?),
            _ if tail.starts_with('m') => (Duration::from_mins(1), tail.get(1..)?),
            _ if tail.starts_with('s') => (Duration::from_secs(1), tail.get(1..)?),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = tail;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_kept_with_a_margin() {
        let fallback = Duration::from_secs(7);
        let table = [
            (Some("10s"), 9_500),
            (Some("1s"), 750),
            (Some("1m0s"), 29_500),
            (Some("500ms"), 375),
            (Some("99999999999s"), 7_000),
            (Some("0s"), 7_000),
            (Some("ten"), 7_000),
            (Some("10"), 7_000),
            (Some("-1s"), 7_000),
            (Some(""), 7_000),
            (None, 7_000),
        ];
        for (parameter, milliseconds) in table {
            assert_eq!(budget(parameter, fallback), Duration::from_millis(milliseconds), "{parameter:?}");
        }
    }
}
