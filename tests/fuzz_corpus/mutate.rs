//! Mutations that depend on a seed alone, so that what fails once fails again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Numbers that depend on a seed alone (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; zero where the bound is.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Pieces on which parsers turn.
const PIECES: [&[u8]; 34] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\x94 ",
    b"/",
    b"..",
    b"@",
    b"@sha256:",
    b"*",
    b"**",
    b"18446744073709551616",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x06\x03",
    b"\xa0\x03\x02\x01",
    b"\x05\x00",
];
/// Longer inputs are cut: no genuine seed is as long, and time is better spent on more of them.
const LIMIT: usize = 64 << 10;

/// One to four changes to some bytes; `other` lends pieces.
pub(crate) fn mutate(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let scale = random.below(8);
        let end = (at + 1 + random.below(1 << scale)).min(bytes.len());
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add([1, 255, 128][random.below(3)]),
            3 if at < end => drop(bytes.drain(at..end)),
            4 if at < end => {
                let piece = bytes[at..end].repeat(1 + random.below(3));
                bytes.splice(at..at, piece);
            }
            5 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
            6 if at < end => drop(bytes.splice(at..end, random.pick(&PIECES).iter().copied())),
            7 if !other.is_empty() => {
                let from = random.below(other.len());
                let until = (from + 1 + random.below(256)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes.truncate(LIMIT);
    bytes
}

/// A change to one place of a JSON document: a value is replaced, removed, repeated, or changed within its base64. None: it is no JSON.
pub(crate) fn mutate_json(random: &mut Random, bytes: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    let mut places = Vec::new();
    collect(&document, String::new(), &mut places);
    for _ in 0..=random.below(2) {
        let place = random.pick(&places).clone();
        let donor = random.pick(&places).clone();
        let donated = document.pointer(&donor).cloned().unwrap_or_default();
        let Some(value) = document.pointer_mut(&place) else { continue };
        match (random.below(8), &mut *value) {
            (0, _) => *value = Value::Null,
            (1, _) => *value = donated,
            (2, Value::Array(list)) if !list.is_empty() => list.push(list[0].clone()),
            (2 | 3, Value::Array(list)) if !list.is_empty() => drop(list.remove(random.below(list.len()))),
            (2 | 3, Value::Object(fields)) if !fields.is_empty() => {
                let names: Vec<String> = fields.keys().cloned().collect();
                fields.remove(random.pick(&names));
            }
            (4, _) => *value = random.pick(&[0_i64, -1, 1, i64::MAX, i64::MIN]).to_owned().into(),
            (_, Value::String(text)) => {
                let inner = STANDARD.decode(&*text).ok().filter(|inner| inner.len() > 8 && random.below(4) > 0);
                *text = match inner {
                    Some(inner) => STANDARD.encode(mutate(random, &inner, other)),
                    None => String::from_utf8_lossy(&mutate(random, text.as_bytes(), other)).into_owned(),
                };
            }
            (_, Value::Number(number)) => *value = number.as_i64().unwrap_or(0).wrapping_add(1).into(),
            (_, value) => *value = Value::Array(vec![value.clone()]),
        }
    }
    Some(document.to_string().into_bytes())
}

fn collect(value: &Value, pointer: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(list) => {
            for (position, value) in list.iter().enumerate() {
                collect(value, format!("{pointer}/{position}"), places);
            }
        }
        _ => {}
    }
    places.push(pointer);
}
