//! Just enough DER (X.690) to write certificates and timestamp tokens, right or wrong.
//!
//! A writer only, on purpose: a reader would be a second opinion on the formats that the tests are about. Every function returns
//! one complete element, so a structure reads like its ASN.1.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Any element: a tag, a definite length, the content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | u8::try_from(bytes.len()).unwrap());
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` of elements.
pub(crate) fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// `SET OF` elements, sorted as DER wants.
pub(crate) fn set(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x31, &sorted(elements))
}

/// The content of a `SET OF`: the elements in DER's order.
pub(crate) fn sorted(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut elements = elements.to_vec();
    elements.sort();
    elements.concat()
}

/// `[number]` that wraps whole elements, or replaces the tag of a constructed one.
pub(crate) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// `[number] IMPLICIT` of a primitive type.
pub(crate) fn context_primitive(number: u8, content: &[u8]) -> Vec<u8> {
    element(0x80 | number, content)
}

/// `INTEGER` that is not negative, from its big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

/// `INTEGER` of a small number.
pub(crate) fn integer(number: u64) -> Vec<u8> {
    unsigned(&number.to_be_bytes())
}

/// `BOOLEAN`.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[if value { 0xff } else { 0x00 }])
}

/// `NULL`.
pub(crate) fn null() -> Vec<u8> {
    element(0x05, &[])
}

/// `OCTET STRING`.
pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// `BIT STRING` of whole bytes.
pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

/// `BIT STRING` of named bits, in one byte with the trailing zeros cut as DER wants.
pub(crate) fn named_bits(byte: u8) -> Vec<u8> {
    element(0x03, &[u8::try_from(byte.trailing_zeros().min(7)).unwrap(), byte])
}

/// `UTF8String`.
pub(crate) fn utf8(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

/// `OBJECT IDENTIFIER`, from the dotted form.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u64>().unwrap());
    let first = arcs.next().unwrap() * 40 + arcs.next().unwrap();
    let mut content = Vec::new();
    for arc in std::iter::once(first).chain(arcs) {
        let mut group = vec![u8::try_from(arc & 0x7f).unwrap()];
        let mut rest = arc >> 7;
        while rest > 0 {
            group.insert(0, 0x80 | u8::try_from(rest & 0x7f).unwrap());
            rest >>= 7;
        }
        content.extend(group);
    }
    element(0x06, &content)
}

/// `Time` as certificates have it: `UTCTime` up to 2049, `GeneralizedTime` after. Fractions are dropped.
pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    if (1950..2050).contains(&at.year()) {
        element(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        element(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// `GeneralizedTime` with `digits` digits of the second's fraction, of which DER wants the trailing zeros cut.
pub(crate) fn generalized_time(at: Timestamp, digits: usize) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    let mut text = at.strftime("%Y%m%d%H%M%S").to_string();
    if digits > 0 {
        let fraction = format!("{:09}", at.subsec_nanosecond());
        text.push('.');
        text.push_str(&fraction[..digits.min(9)]);
    }
    text.push('Z');
    element(0x18, text.as_bytes())
}

/// `SEQUENCE`s in one another, `depth` of them: DER that no parser should follow to its end.
pub(crate) fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(null(), |inner, _| element(0x30, &inner))
}
