//! DER of a stranger, looked at before a parser is: its size, its depth, and how many elements its sets have.
//!
//! The library sorts the elements of each `SET OF` by insertion, so that a set of 90,000 in descending order would take minutes. Genuine
//! certificates and timestamps have a handful. Nothing is decoded here; octet strings that hold elements are looked into, because the
//! parsers of extensions do.

use super::FormatError;

/// Bytes of one certificate or timestamp token; genuine ones have up to ten thousand.
const BYTES: usize = 64 << 10;
/// Elements of one set, or of one field with a tag of its own, which may be a set.
const SET_ELEMENTS: usize = 64;
/// Elements in all.
const ELEMENTS: usize = 8_192;
/// Elements inside each other.
const DEPTH: usize = 48;

/// Checks DER within these bounds. What is no DER passes: its parser says so.
///
/// # Errors
/// The bound that is exceeded.
pub(crate) fn check(what: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
    let too_many = |part: &'static str, found, limit| Err(FormatError::TooMany { what: part, found, limit });
    if bytes.len() > BYTES {
        return too_many(what, bytes.len(), BYTES);
    }
    let mut elements = 0;
    let mut left = vec![(bytes, false, 0)];
    while let Some((content, is_set, depth)) = left.pop() {
        let (mut rest, mut own) = (content, 0);
        while let Some((tag, inner, after)) = element(rest) {
            (rest, own, elements) = (after, own + 1, elements + 1);
            if elements > ELEMENTS {
                return too_many("elements of DER", elements, ELEMENTS);
            }
            if is_set && own > SET_ELEMENTS {
                return too_many("elements of a set", own, SET_ELEMENTS);
            }
            let constructed = tag & 0x20 != 0;
            // An octet string, or a bit string of whole bytes, whose content is elements throughout.
            let wraps = (tag == 0x04 && is_elements(inner)) || (tag == 0x03 && inner.get(1..).is_some_and(is_elements));
            if constructed || wraps {
                if depth == DEPTH {
                    return too_many("elements inside each other", depth + 1, DEPTH);
                }
                let inner = if tag == 0x03 { inner.get(1..).unwrap_or_default() } else { inner };
                // A set, or a field whose own tag may stand for a set's.
                left.push((inner, tag == 0x31 || tag & 0xc0 == 0x80, depth + 1));
            }
        }
    }
    Ok(())
}

/// Whether bytes are one element and nothing else.
fn is_elements(bytes: &[u8]) -> bool {
    element(bytes).is_some_and(|(_, _, after)| after.is_empty())
}

/// The first element: its tag, its content, and what follows. None where there is no whole element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    // Tags of several bytes occur in nothing that is read.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84][..], &length, content].concat()
    }

    fn refusal(bytes: &[u8]) -> Option<&'static str> {
        match check("token", bytes) {
            Ok(()) => None,
            Err(FormatError::TooMany { what, .. }) => Some(what),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn sets_are_bounded_wherever_they_stand() {
        let elements = |count: u8| (0..count).rev().flat_map(|number| [2, 1, number]).collect::<Vec<u8>>();
        let nest = |tags: &[u8], inner: Vec<u8>| tags.iter().rev().fold(inner, |inner, tag| wrapped(*tag, &inner));
        for tags in [&[0x31][..], &[0x30, 0x31], &[0x30, 0x04, 0x31], &[0x30, 0xa0], &[0x30, 0xa0, 0x30, 0x31]] {
            assert_eq!(refusal(&nest(tags, elements(64))), None, "{tags:x?}");
            assert_eq!(refusal(&nest(tags, elements(65))), Some("elements of a set"), "{tags:x?}");
        }
        // A sequence is not sorted.
        assert_eq!(refusal(&nest(&[0x30], elements(200))), None);
        let bits = wrapped(0x03, &[&[0][..], &nest(&[0x31], elements(65))].concat());
        assert_eq!(refusal(&bits), Some("elements of a set"));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        assert_eq!(refusal(&vec![0x30; BYTES + 1]), Some("token"));
        let deep = (0..=DEPTH).fold(vec![5, 0], |inner, _| wrapped(0x30, &inner));
        assert_eq!(refusal(&deep), Some("elements inside each other"));
        let many = wrapped(0x30, &[5, 0].repeat(ELEMENTS));
        assert_eq!(refusal(&many), Some("elements of DER"));
        for other in [&b""[..], b"text", &[0x30, 0x80, 0, 0], &[0x30, 5, 1], &[0x1f, 0x81, 0]] {
            assert_eq!(refusal(other), None, "{other:x?}");
        }
    }
}
