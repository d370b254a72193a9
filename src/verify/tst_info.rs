//! What a timestamp authority signs: the `TSTInfo` of RFC 3161, section 2.4.2, from DER to fields.
//!
//! Read by hand because its time may carry fractions of a second, which the library's type refuses. Nothing is verified here.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader, Tag, Tagged as _};
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierRef;

/// The fields that are used.
#[derive(Debug)]
pub(super) struct TstInfo {
    /// The algorithm of the imprint.
    pub(super) hash: ObjectIdentifier,
    /// The hash of what was stamped.
    pub(super) imprint: Vec<u8>,
    /// When.
    pub(super) time: Timestamp,
    /// How far the time may be off, in either direction.
    pub(super) accuracy: std::time::Duration,
}

impl TstInfo {
    /// Reads the structure.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let sequence = AnyRef::from_der(der).map_err(|error| error.to_string())?;
        if sequence.tag() != Tag::Sequence {
            return Err("it is no sequence".to_owned());
        }
        let mut reader = SliceReader::new(sequence.value()).map_err(|error| error.to_string())?;
        let version = u8::decode(&mut reader).map_err(|error| error.to_string())?;
        if version != 1 {
            return Err(format!("its version is {version}"));
        }
        let next = |reader: &mut SliceReader<'_>| ObjectIdentifier::decode(reader).map_err(|error| error.to_string());
        next(&mut reader)?;
        let (hash, imprint) = imprint(&mut reader)?;
        // A serial number of up to 160 bits, of which only the form is of interest.
        let serial = AnyRef::decode(&mut reader).map_err(|error| error.to_string())?;
        let time = AnyRef::decode(&mut reader).map_err(|error| error.to_string())?;
        if serial.tag() != Tag::Integer || time.tag() != Tag::GeneralizedTime {
            return Err("its serial number or time is malformed".to_owned());
        }
        let time = generalized_time(time.value()).ok_or("its time is malformed")?;
        let accuracy = optional(&mut reader)?;
        Ok(Self { hash, imprint, time, accuracy })
    }
}

fn imprint(reader: &mut SliceReader<'_>) -> Result<(ObjectIdentifier, Vec<u8>), String> {
    let sequence = AnyRef::decode(reader).map_err(|error| error.to_string())?;
    let mut inner = SliceReader::new(sequence.value()).map_err(|error| error.to_string())?;
    let algorithm = AlgorithmIdentifierRef::decode(&mut inner).map_err(|error| error.to_string())?;
    let imprint = OctetStringRef::decode(&mut inner).map_err(|error| error.to_string())?;
    let found = (algorithm.oid, imprint.as_bytes().to_vec());
    if sequence.tag() != Tag::Sequence || !inner.is_finished() {
        return Err("its imprint is malformed".to_owned());
    }
    Ok(found)
}

/// The fields that may follow the time, each at most once and in order: accuracy, ordering, nonce, name, extensions.
fn optional(reader: &mut SliceReader<'_>) -> Result<std::time::Duration, String> {
    let mut accuracy = std::time::Duration::ZERO;
    let mut last = 0;
    while !reader.is_finished() {
        let field = AnyRef::decode(reader).map_err(|error| error.to_string())?;
        let place = match field.tag() {
            Tag::Sequence => {
                accuracy = read_accuracy(field.value()).map_err(|error| error.to_string())?;
                1
            }
            Tag::Boolean => 2,
            Tag::Integer => 3,
            Tag::ContextSpecific { number, .. } if number.value() == 0 => 4,
            Tag::ContextSpecific { number, .. } if number.value() == 1 => {
                refuse_critical(field.value())?;
                5
            }
            other => return Err(format!("it has a field of type {other}")),
        };
        if place <= last {
            return Err("its fields are out of order".to_owned());
        }
        last = place;
    }
    Ok(accuracy)
}

/// `Accuracy`: seconds, then milliseconds and microseconds of 1 to 999 each.
fn read_accuracy(value: &[u8]) -> x509_cert::der::Result<std::time::Duration> {
    let mut reader = SliceReader::new(value)?;
    let mut found = std::time::Duration::ZERO;
    while !reader.is_finished() {
        let part = AnyRef::decode(&mut reader)?;
        let bytes = part.value();
        let number = bytes.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        if bytes.is_empty() || bytes.len() > 7 {
            return Err(part.tag().value_error());
        }
        found = found.saturating_add(match part.tag() {
            Tag::Integer => {
                UintRef::new(bytes)?;
                std::time::Duration::from_secs(number)
            }
            Tag::ContextSpecific { number: tag, .. } if tag.value() == 0 => std::time::Duration::from_millis(number),
            Tag::ContextSpecific { number: tag, .. } if tag.value() == 1 => std::time::Duration::from_micros(number),
            other => return Err(other.value_error()),
        });
    }
    Ok(found)
}

/// An extension that we do not know and that must be known says something that we would miss.
fn refuse_critical(value: &[u8]) -> Result<(), String> {
    let mut reader = SliceReader::new(value).map_err(|error| error.to_string())?;
    while !reader.is_finished() {
        let extension = Extension::decode(&mut reader).map_err(|error| error.to_string())?;
        if extension.critical {
            return Err(format!("it has the critical extension {}", extension.extn_id));
        }
    }
    Ok(())
}

/// `YYYYMMDDhhmmss`, perhaps a point and digits that do not end in zero, and `Z`.
fn generalized_time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.len() != 14 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = match fraction {
        None => 0,
        Some(digits) => {
            let right = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !right || digits.ends_with('0') {
                return None;
            }
            format!("{digits:0<9}").parse::<i32>().ok()?
        }
    };
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<i8>().ok();
    let year = whole.get(..4)?.parse::<i16>().ok()?;
    let time = DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, nanoseconds);
    Some(time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_and_in_utc() {
        let table = [
            ("20260102030405Z", Some("2026-01-02T03:04:05Z")),
            ("20260102030405.5Z", Some("2026-01-02T03:04:05.5Z")),
            ("20260102030405.000000001Z", Some("2026-01-02T03:04:05.000000001Z")),
            ("20260102030405.50Z", None),
            ("20260102030405.Z", None),
            ("20260102030405.1234567891Z", None),
            ("20260102030405", None),
            ("20260102030405+0100", None),
            ("2026010203Z", None),
            ("20261302030405Z", None),
            ("20260102030460Z", None),
            ("+0260102030405Z", None),
            ("2026010203040５Z", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(generalized_time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn accuracy_is_the_sum_of_its_parts() {
        use std::time::Duration;
        let table: [(&[u8], Option<Duration>); 6] = [
            (&[], Some(Duration::ZERO)),
            (&[2, 1, 1], Some(Duration::from_secs(1))),
            (&[2, 1, 1, 0x80, 2, 1, 0xf4, 0x81, 1, 7], Some(Duration::from_micros(1_500_007))),
            (&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[4, 1, 1], None),
            (&[2, 5, 1], None),
        ];
        for (der, expected) in table {
            assert_eq!(read_accuracy(der).ok(), expected, "{der:?}");
        }
    }

    #[test]
    fn what_is_no_structure_is_refused() {
        for der in [&b""[..], b"x", &[0x30, 0], &[0x30, 3, 2, 1, 2], &[0x30, 3, 2, 1, 1], &[0x31, 0]] {
            assert!(TstInfo::read(der).is_err(), "{der:?}");
        }
    }
}
