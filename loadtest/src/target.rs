//! Where the load goes: the URLs of servers under test and of the API. Pure; names are resolved by `machine`.

/// Where clients connect: a WebSocket, or a stream of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, as it goes into the request line.
    pub path: String,
    /// `wss://`, `https://`.
    pub is_tls: bool,
    /// `http://`, `https://`: the same messages as server-sent events.
    pub is_stream: bool,
}

pub(crate) const PATH_DEFAULT: &str = "/v1/connect";
const EVENTS_PATH: &str = "/v1/events";
/// Where clients of a stream say something: beside the stream.
const MESSAGES_PATH: &str = "/v1/messages";
const KNOWN: &str = "ws://, wss://, http:// and https://";
const URL_BYTES_MAX: usize = 2_048;

impl Target {
    /// `ws[s]://host[:port][/path]` or `http[s]://host[:port][/v1/events]`; port 80 or 443 and the contract's path stand where
    /// none is given.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| format!("{url:?} is not a URL: write ws://host:port"))?;
        let (is_tls, is_stream) = match scheme {
            "ws" => (false, false),
            "wss" => (true, false),
            "http" => (false, true),
            "https" => (true, true),
            "quic" => return Err(format!("{url:?}: quic:// is not built yet; {KNOWN} are")),
            _ => return Err(format!("{url:?}: only {KNOWN} are known")),
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = authority_of(authority, if is_tls { 443 } else { 80 })
            .ok_or_else(|| format!("{url:?} has no host[:port]"))?;
        if url.len() > URL_BYTES_MAX || path.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(format!(
                "{url:?}: the path must be plain ASCII, without #, at most {URL_BYTES_MAX} bytes"
            ));
        }
        let default = if is_stream { EVENTS_PATH } else { PATH_DEFAULT };
        let path = match path {
            "" | "/" => default.to_owned(),
            query if query.starts_with('?') => format!("{default}{query}"),
            path => path.to_owned(),
        };
        if is_stream && !path.split('?').next().is_some_and(|path| path.ends_with(EVENTS_PATH)) {
            return Err(format!("{url:?}: events are at a path that ends with {EVENTS_PATH}"));
        }
        Ok(Target { host, port, path, is_tls, is_stream })
    }

    /// As it was given, with everything that stands by itself.
    pub fn url(&self) -> String {
        let scheme = match (self.is_stream, self.is_tls) {
            (false, false) => "ws",
            (false, true) => "wss",
            (true, false) => "http",
            (true, true) => "https",
        };
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

    /// Where a stream's clients say something.
    pub fn messages_path(&self) -> String {
        let (path, _query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        format!("{}{MESSAGES_PATH}", path.strip_suffix(EVENTS_PATH).unwrap_or_default())
    }
}

/// A path with `?user=NAME`, or `&user=NAME` behind another query.
pub fn as_user(path: &str, user: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}user={user}")
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
            Target::parse("ws://[::1]:9000/x?y=1").map(|t| as_user(&t.path, "u1")),
            Ok("/x?y=1&user=u1".to_owned())
        );
        assert_eq!(parse_api("http://127.0.0.1:8090/"), Ok("http://127.0.0.1:8090".to_owned()));
    }

    #[test]
    fn a_stream_has_a_place_beside_it_for_what_its_clients_say() {
        for (url, shown, said_at) in [
            ("http://h", "http://h:80/v1/events", "/v1/messages"),
            ("https://h:1/v1/events", "https://h:1/v1/events", "/v1/messages"),
            ("http://h/edge/v1/events?device=d", "http://h:80/edge/v1/events?device=d", "/edge/v1/messages"),
        ] {
            let target = Target::parse(url).expect(url);
            assert!(target.is_stream);
            assert_eq!((target.url().as_str(), target.messages_path().as_str()), (shown, said_at));
        }
        assert!(Target::parse("ws://h/v1/events").is_ok_and(|target| !target.is_stream));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (url, why) in [
            ("", "not a URL"),
            ("127.0.0.1:8080", "not a URL"),
            ("quic://h", "not built yet"),
            ("ftp://h", "only ws://, wss://, http:// and https://"),
            ("http://h/v1/connect", "ends with /v1/events"),
            ("https://h/?x=/v1/events", "ends with /v1/events"),
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
