//! The `WWW-Authenticate` header, as far as `Basic` and `Bearer`
//! ([RFC 9110, section 11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1),
//! [token authentication](https://distribution.github.io/distribution/spec/auth/token/)).
//!
//! The scope that a challenge names is dropped: this client only ever asks to pull the repository it is reading.

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from the service at `realm`.
    Bearer {
        /// URL of the token service, unchecked.
        realm: String,
        /// The name by which the service knows the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge to answer among the values of all such headers: the first `Bearer`, else `Basic` if it is offered.
    pub(super) fn select<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let challenges: Vec<Self> = headers.flat_map(parse).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or_else(|| challenges.first()).cloned()
    }
}

/// The known challenges of one header, in its order. Text that is not in the grammar ends the list.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scanner = Scanner { rest: header };
    while let Some(scheme) = scanner.scheme() {
        let mut realm = None;
        let mut service = None;
        while let Some((name, value)) = scanner.parameter() {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = realm.or(Some(value)),
                "service" => service = service.or(Some(value)),
                _ => {}
            }
        }
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = realm
        {
            challenges.push(Challenge::Bearer { realm, service });
        }
    }
    challenges
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// A scheme: a token that no `=` follows.
    fn scheme(&mut self) -> Option<&'a str> {
        self.skip_separators();
        self.token()
    }

    /// `name=value` or `name="value"`; nothing, and nothing consumed, where a scheme or the end follows.
    fn parameter(&mut self) -> Option<(&'a str, String)> {
        let start = self.rest;
        self.skip_separators();
        let found = self.token().and_then(|name| {
            self.rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
            Some((name, self.value()?))
        });
        if found.is_none() {
            self.rest = start;
        }
        found
    }

    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.token().map(str::to_owned);
        };
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                other => value.push(other),
            }
        }
        self.rest = characters.as_str();
        Some(value)
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:?".contains(character);
        let end = self.rest.find(|character| !is_token(character)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) }
    }

    #[test]
    fn selects_what_registries_ask_for() {
        let cases: Vec<(&[&str], Option<Challenge>)> = vec![
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#,
                ],
                Some(bearer("https://auth.docker.io/token", Some("registry.docker.io"))),
            ),
            (
                &[r#"bearer realm="https://ghcr.io/token" , service = ghcr.io"#],
                Some(bearer("https://ghcr.io/token", Some("ghcr.io"))),
            ),
            (&["Bearer realm=https://reg.io/token"], Some(bearer("https://reg.io/token", None))),
            (&[r#"Basic realm="Registry Realm""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&[r#"Basic realm="a", Bearer realm="https://b/",scope="x""#], Some(bearer("https://b/", None))),
            (&[r#"Basic realm="a""#, r#"Bearer realm="https://b/""#], Some(bearer("https://b/", None))),
            (&[r#"Negotiate abc==, Basic realm="a""#], None),
            (&[r#"Negotiate, Basic realm="a""#], Some(Challenge::Basic)),
            (&[r#"Bearer realm="a\"b\\c""#], Some(bearer("a\"b\\c", None))),
            (&[r#"Bearer realm="https://first/",realm="https://second/""#], Some(bearer("https://first/", None))),
            (&[r#"Bearer service="s""#], None),
            (&["Bearer"], None),
            (&[r#"Bearer realm="unterminated"#], None),
            (&["", ",,,", "=", "\"", "Bearer realm="], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            assert_eq!(Challenge::select(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
