//! The `Link` header of a paged listing, as far as `rel="next"`
//! ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288#section-3)).
//!
//! Where the link leads is for the client to judge; other relations are skipped.

/// The target of the first link whose relation is `next`.
pub(super) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, parameters) = after.split_once('>')?;
        let end = end_of_value(parameters);
        let (own, following) = parameters.split_at_checked(end)?;
        if has_relation_next(own) {
            return Some(target);
        }
        rest = following;
    }
    None
}

/// Where the next link value starts: the first comma outside of quotes.
fn end_of_value(parameters: &str) -> usize {
    let mut quoted = false;
    for (offset, character) in parameters.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => return offset,
            _ => {}
        }
    }
    parameters.len()
}

fn has_relation_next(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && value.trim().trim_matches('"').split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page() {
        for (header, expected) in [
            (r#"</v2/a/referrers/x?n=1>; rel="next""#, Some("/v2/a/referrers/x?n=1")),
            ("</a>;rel=next", Some("/a")),
            (r#"</a>; rel="prev", </b,c>; title="x, y"; rel="last Next""#, Some("/b,c")),
            (r#"</a>; title="rel=next""#, None),
            (r#"</a>; rel="prev""#, None),
            ("</a", None),
            ("/a; rel=next", None),
            ("", None),
            ("<", None),
            ("<>; rel=next", Some("")),
        ] {
            assert_eq!(next(header), expected, "{header}");
        }
    }
}
