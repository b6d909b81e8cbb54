//! Where the load goes: the URLs of servers under test and of the API. Pure; names are resolved by `machine`.

/// A WebSocket address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, as it goes into the request line.
    pub path: String,
    /// `wss://`.
    pub is_tls: bool,
}

/// Schemes of the contract that later versions will speak.
const NOT_YET: [&str; 3] = ["quic", "https", "http"];
pub(crate) const PATH_DEFAULT: &str = "/v1/connect";
const URL_BYTES_MAX: usize = 2_048;

impl Target {
    /// `ws[s]://host[:port][/path]`; port 80 or 443 and the contract's path stand where none is given.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| format!("{url:?} is not a URL: write ws://host:port"))?;
        if NOT_YET.contains(&scheme) {
            return Err(format!("{url:?}: {scheme}:// is not built yet; ws:// and wss:// are"));
        }
        if !["ws", "wss"].contains(&scheme) {
            return Err(format!("{url:?}: only ws:// and wss:// are known"));
        }
        let is_tls = scheme == "wss";
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = authority_of(authority, if is_tls { 443 } else { 80 })
            .ok_or_else(|| format!("{url:?} has no host[:port]"))?;
        if url.len() > URL_BYTES_MAX || path.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(format!(
                "{url:?}: the path must be plain ASCII, without #, at most {URL_BYTES_MAX} bytes"
            ));
        }
        let path = match path {
            "" | "/" => PATH_DEFAULT.to_owned(),
            query if query.starts_with('?') => format!("{PATH_DEFAULT}{query}"),
            path => path.to_owned(),
        };
        Ok(Target { host, port, path, is_tls })
    }

    /// As it was given, with everything that stands by itself.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// What the Host header says.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The path with `?user=NAME`, or `&user=NAME` behind another query.
    pub fn path_as(&self, user: &str) -> String {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{joint}user={user}", self.path)
    }
}

/// The API's address, checked and without a slash at its end.
pub fn parse_api(url: &str) -> Result<String, String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(format!("{url:?}: the API is reached by http:// (https:// is not built yet)"));
    };
    let authority = rest.trim_end_matches('/');
    if authority.contains(['/', '?', '#']) || authority_of(authority, 80).is_none() {
        return Err(format!("{url:?} is not http://host[:port]"));
    }
    Ok(format!("http://{authority}"))
}

fn authority_of(authority: &str, default: u16) -> Option<(String, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let host: std::net::Ipv6Addr = host.parse().ok()?;
        let port = if port.is_empty() { default } else { port.strip_prefix(':')?.parse().ok()? };
        return (port != 0).then(|| (host.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, default),
    };
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (named && port != 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read() {
        for (url, host, port, path) in [
            ("ws://127.0.0.1:8080", "127.0.0.1", 8080, "/v1/connect"),
            ("ws://a-b.example/", "a-b.example", 80, "/v1/connect"),
            ("ws://[::1]:9000/x?y=1", "::1", 9000, "/x?y=1"),
            ("ws://h?device=d", "h", 80, "/v1/connect?device=d"),
            ("wss://h", "h", 443, "/v1/connect"),
        ] {
            let target = Target::parse(url).expect(url);
            assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path));
        }
        assert_eq!(
            Target::parse("wss://[::1]:9000/x").map(|t| (t.is_tls, t.url())),
            Ok((true, "wss://[::1]:9000/x".to_owned()))
        );
        assert_eq!(
            Target::parse("ws://[::1]:9000/x?y=1").map(|t| t.path_as("u1")),
            Ok("/x?y=1&user=u1".to_owned())
        );
        assert_eq!(parse_api("http://127.0.0.1:8090/"), Ok("http://127.0.0.1:8090".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (url, why) in [
            ("", "not a URL"),
            ("127.0.0.1:8080", "not a URL"),
            ("quic://h", "not built yet"),
            ("ftp://h", "only ws:// and wss://"),
            ("ws://", "no host"),
            ("ws://h:0", "no host"),
            ("ws://h:99999", "no host"),
            ("ws://h o", "no host"),
            ("ws://h/a b", "plain ASCII"),
            ("ws://h/a#b", "plain ASCII"),
            ("ws://[::1", "no host"),
        ] {
            let error = Target::parse(url).expect_err(url);
            assert!(error.contains(why), "{url:?}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
        for url in ["https://h", "h:1", "http://", "http://h:1/v1", "http://h:x"] {
            assert!(parse_api(url).is_err(), "{url:?}");
        }
    }
}
