//! Lengths of time as all our kinds write them. The bounds are each field's own.

/// Reads a length of time in seconds: days, hours, minutes and seconds in this order, each at most once and with at most seven digits, such
/// as `90d` or `1h30m`. An empty text is no time at all.
pub fn seconds(text: &str) -> Option<u64> {
    let mut units = [('d', 86_400_u64), ('h', 3_600), ('m', 60), ('s', 1)].into_iter();
    let (mut rest, mut seconds) = (text, 0_u64);
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit()).filter(|end| *end <= 7)?;
        let (digits, tail) = rest.split_at(end);
        let number: u64 = digits.parse().ok()?;
        let unit = tail.chars().next()?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        // Seven digits of days are far from the end of a u64.
        seconds = seconds.saturating_add(number.saturating_mul(length));
        rest = tail.strip_prefix(unit).unwrap_or_default();
    }
    Some(seconds)
}
