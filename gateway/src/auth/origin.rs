//! Web origins, compared exactly: scheme, host and port (RFC 6454 §5). No suffixes, no wildcards, no `null`.
//!
//! Called by `auth` and by the configuration's check.

/// A parsed origin. Equal when scheme, host and port are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]` and nothing else: no path, user, query, list, space or non-ASCII letter.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (host, port) = split_port(rest)?;
        let port = match port {
            None => default_port,
            Some(digits) => {
                let plain =
                    !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| digits.parse().ok()).flatten()?
            }
        };
        Some(Origin { scheme, host: host.to_ascii_lowercase(), port })
    }
}

fn split_port(rest: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = rest.strip_prefix('[') {
        let (address, behind) = inner.split_once(']')?;
        let _is_v6: std::net::Ipv6Addr = address.parse().ok()?;
        let host = &rest[..address.len() + 2];
        return match behind {
            "" => Some((host, None)),
            _ => behind.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    is_name.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str) -> bool {
        let list = ["https://app.example.com", "http://localhost:8080", "https://[::1]:8443"];
        let list: Vec<Origin> = list.iter().map(|o| Origin::parse(o).expect("is an origin")).collect();
        Origin::parse(origin).is_some_and(|origin| list.contains(&origin))
    }

    #[test]
    fn only_the_same_scheme_host_and_port_are_let_in() {
        let table = [
            ("https://app.example.com", true),
            ("https://app.example.com:443", true),
            ("HTTPS://APP.EXAMPLE.COM", true),
            ("https://App.Example.com", true),
            ("http://localhost:8080", true),
            ("https://[::1]:8443", true),
            ("http://app.example.com", false),
            ("https://app.example.com:80", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com:", false),
            ("https://app.example.com:0443", true), // the same number; no browser writes it
            ("https://app.example.com:443x", false),
            ("https://app.example.com:+443", false),
            ("https://app.example.com:65979", false), // 443 + 65536
            ("https://app.example.com.", false),
            ("https://app.example.com.evil.org", false),
            ("https://evil.org/app.example.com", false),
            ("https://evilapp.example.com", false),
            ("https://sub.app.example.com", false),
            ("https://example.com", false),
            ("https://app.example.com/", false),
            ("https://app.example.com/path", false),
            ("https://app.example.com?x", false),
            ("https://app.example.com#x", false),
            ("https://app.example.com@evil.org", false),
            ("https://user:pw@app.example.com", false),
            ("https://app.example.com https://evil.org", false),
            ("https://app.example.com,https://evil.org", false),
            (" https://app.example.com", false),
            ("https://app.example.com\t", false),
            ("https://app\u{ff0e}example.com", false),
            ("https://\u{430}pp.example.com", false),
            ("https://xn--pp-6kc.example.com", false),
            ("https://app%2eexample.com", false),
            ("https:app.example.com", false),
            ("//app.example.com", false),
            ("app.example.com", false),
            ("wss://app.example.com", false),
            ("file://", false),
            ("null", false),
            ("", false),
            ("http://127.0.0.1:8080", false),
            ("http://localhost", false),
            ("http://[::1]:8443", false),
            ("https://[::1", false),
            ("https://[::1]x", false),
            ("https://::1:8443", false),
        ];
        for (origin, expected) in table {
            assert_eq!(allowed(origin), expected, "{origin:?}");
        }
    }
}
