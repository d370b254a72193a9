//! Spans of time and lengths of time, as policies write them, and whether a signature was made within.
//!
//! A signature has a *set* of verified times, each an interval. A span holds only if all of them lie in it whole: whoever could add a
//! time must not gain by it. A signature without a verified time is in no span.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::miss::{Miss, WHEN};
use super::{PolicyError, describe};
use crate::api;
use crate::verify::Evidence;

/// The longest time that a policy may state, in days.
const DAYS_LIMIT: i64 = 36_525;

/// A span of time, both ends included; at least one of them is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SigningWindow {
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl SigningWindow {
    /// Parses the two ends. None: neither is given.
    ///
    /// # Errors
    /// A text that is no time of RFC 3339, a span that ends before it starts.
    pub(super) fn parse(
        field: &str,
        not_before: Option<&str>,
        not_after: Option<&str>,
    ) -> Result<Option<Self>, PolicyError> {
        let time = |part: &str, text: Option<&str>| {
            let parse = |text: &str| {
                text.parse::<Timestamp>()
                    .map_err(|_| PolicyError::Time { field: format!("{field}.{part}"), found: text.to_owned() })
            };
            text.map(parse).transpose()
        };
        let (not_before, not_after) = (time("notBefore", not_before)?, time("notAfter", not_after)?);
        match (not_before, not_after) {
            (None, None) => Ok(None),
            (Some(first), Some(last)) if first > last => {
                Err(PolicyError::Useless { field: field.to_owned(), reason: "notBefore is later than notAfter" })
            }
            _ => Ok(Some(Self { not_before, not_after })),
        }
    }

    /// Whether every verified time lies in the span whole, and there is one.
    pub(super) fn check(&self, evidence: &Evidence) -> Result<(), Miss> {
        if evidence.times().is_empty() {
            return Err(Miss::near("TimestampMissing", WHEN, "a signature without any verified time"));
        }
        let outside = |earliest: Timestamp, latest: Timestamp| {
            self.not_before.is_some_and(|first| earliest < first) || self.not_after.is_some_and(|last| latest > last)
        };
        match evidence.times().iter().find(|time| outside(time.earliest, time.latest)) {
            None => Ok(()),
            Some(time) => {
                let found = format!("{}, dated {}, which is not {self}", describe(evidence), time.at);
                Err(Miss::near("SignedOutsideWindow", WHEN, found))
            }
        }
    }
}

impl fmt::Display for SigningWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.not_before, self.not_after) {
            (Some(first), Some(last)) => write!(formatter, "from {first} to {last}"),
            (Some(first), None) => write!(formatter, "from {first} on"),
            (None, Some(last)) => write!(formatter, "up to {last}"),
            (None, None) => formatter.write_str("at any time"),
        }
    }
}

/// Parses a length of time: days, hours, minutes and seconds in this order, each at most once, such as `90d` or `1h30m`.
///
/// # Errors
/// Anything else, no time at all, more than 100 years.
pub(super) fn duration(field: &str, text: &str) -> Result<SignedDuration, PolicyError> {
    let read = api::seconds(text).and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = read
        .filter(|seconds| (1..=DAYS_LIMIT * 86_400).contains(seconds))
        .ok_or_else(|| PolicyError::Duration { field: field.to_owned(), found: text.to_owned() })?;
    Ok(SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_one_way() {
        let day = 86_400;
        let table = [
            ("90d", 90 * day),
            ("24h", day),
            ("1h30m", 5_400),
            ("1d1h1m1s", day + 3_661),
            ("36525d", DAYS_LIMIT * day),
        ];
        for (text, seconds) in table {
            assert_eq!(duration("f", text).unwrap(), SignedDuration::from_secs(seconds), "{text}");
        }
        for bad in ["", "0s", "1", "h", "1h1h", "1m1h", "-1h", "+1h", "1.5h", "1 h", "1w", "36526d", "99999999s", "١h"]
        {
            assert!(duration("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_have_a_time_zone_and_do_not_end_before_they_start() {
        let (first, last) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        assert!(matches!(SigningWindow::parse("f", None, None), Ok(None)));
        for (not_before, not_after) in [(Some(first), Some(last)), (Some(first), Some(first)), (None, Some(last))] {
            assert!(matches!(SigningWindow::parse("f", not_before, not_after), Ok(Some(_))));
        }
        assert!(SigningWindow::parse("f", Some(last), Some(first)).is_err());
        for bad in ["2026-01-01", "2026-01-01T00:00:00", "", "now", "2026-13-01T00:00:00Z"] {
            assert!(SigningWindow::parse("f", Some(bad), None).is_err(), "{bad}");
        }
    }
}
