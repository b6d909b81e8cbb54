//! Request heads: what a server reads.

use std::borrow::Cow;

use super::{BadRequest, Headers};
use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX};

/// Bytes of the longest method that anybody registered.
const METHOD_BYTES_MAX: usize = 18;

/// Headers that decide something and have one value: sent twice, two parsers may choose differently.
const SINGLE: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "authorization",
    "origin",
    "expect",
    "last-event-id",
    "sec-websocket-key",
    "sec-websocket-version",
];

/// A request's first part, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// Begins with `/`, or is `*`. As it was sent: percent signs and all.
    pub path: &'a str,
    /// What follows the `?`; empty without one.
    pub query: &'a str,
    /// HTTP/1.x.
    pub minor_version: u8,
    /// Bytes of the head; the body follows.
    pub head_bytes: usize,
    content_length: Option<u64>,
    pub(super) headers: Headers<'a>,
}

const fn bad(reason: &'static str) -> BadRequest {
    BadRequest { status: 400, reason }
}

const TOO_LARGE: BadRequest = BadRequest { status: 431, reason: "the header is too large" };

/// Reads a head off the front of `input`; `None` until it is complete. Bytes that are not HTTP are refused on
/// the first of them.
pub fn parse_request(input: &[u8]) -> Result<Option<RequestHead<'_>>, BadRequest> {
    check_start(input)?;
    let searched = &input[..input.len().min(HEADER_BYTES_MAX)];
    let Some(head_bytes) = end_of_head(searched)? else {
        return match input.len() {
            ..HEADER_BYTES_MAX => Ok(None),
            _ if memchr::memchr(b'\n', searched).is_none() => {
                Err(BadRequest { status: 414, reason: "the request line is too long" })
            }
            _ => Err(TOO_LARGE),
        };
    };
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(&input[..head_bytes]) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head ends early")),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(httparse::Error::Version) => {
            return Err(BadRequest { status: 505, reason: "this is not HTTP/1" });
        }
        Err(_) => return Err(bad("the head is malformed")),
    }
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version)
    else {
        return Err(bad("the head is malformed"));
    };
    let count = request.headers.len();
    let headers = Headers { lines, count };
    let content_length = check_headers(&headers, minor_version)?;
    let (path, query) = split_target(target, method)?;
    Ok(Some(RequestHead { method, path, query, minor_version, head_bytes, content_length, headers }))
}

/// Behind the empty line. A line feed alone ends no line here, as it may do elsewhere.
fn end_of_head(input: &[u8]) -> Result<Option<usize>, BadRequest> {
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', input) {
        if at == line || input[at - 1] != b'\r' {
            return Err(bad("a line does not end with CRLF"));
        }
        if at == line + 1 && line > 0 {
            return Ok(Some(at + 1));
        }
        line = at + 1;
    }
    Ok(None)
}

/// A TLS hello, a PROXY line, a stray CRLF: said so now, not when a header's worth of it has come.
fn check_start(input: &[u8]) -> Result<(), BadRequest> {
    let start = &input[..input.len().min(METHOD_BYTES_MAX + 1)];
    let method = start.iter().position(|byte| *byte == b' ').map_or(start, |at| &start[..at]);
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let no_end = method.len() > METHOD_BYTES_MAX;
    let empty = method.is_empty() && !input.is_empty();
    if no_end || empty || !method.iter().all(is_method) {
        return Err(bad("this is not an HTTP request"));
    }
    Ok(())
}

fn check_headers(headers: &Headers<'_>, minor_version: u8) -> Result<Option<u64>, BadRequest> {
    let mut seen = [false; SINGLE.len()];
    for line in &headers.lines[..headers.count] {
        let Some(which) = SINGLE.iter().position(|name| line.name.eq_ignore_ascii_case(name)) else {
            continue;
        };
        if std::mem::replace(&mut seen[which], true) {
            return Err(bad("a header that may stand once stands twice"));
        }
        if !line.value.is_ascii() {
            return Err(bad("a header's value is not ASCII"));
        }
    }
    if minor_version > 0 && headers.text("host").is_none() {
        return Err(bad("there is no Host"));
    }
    let content_length = headers.text("content-length");
    if headers.all("transfer-encoding").next().is_some() {
        return Err(match content_length {
            Some(_) => bad("Content-Length and Transfer-Encoding contradict each other"),
            None => BadRequest { status: 501, reason: "no transfer encoding is understood here" },
        });
    }
    content_length
        .map(|text| {
            // `parse` alone would take a sign.
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(bad("Content-Length is not a number"))
        })
        .transpose()
}

/// RFC 9112 §3.2: a path, a whole URL (from a proxy), or `*` for OPTIONS.
fn split_target<'a>(target: &'a str, method: &str) -> Result<(&'a str, &'a str), BadRequest> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(bad("the request target is malformed"));
    }
    let from_path = match target.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    let (path, query) = from_path.split_once('?').unwrap_or((from_path, ""));
    match path {
        "" if from_path.len() < target.len() => Ok(("/", query)),
        "*" if method == "OPTIONS" => Ok((path, query)),
        _ if path.starts_with('/') => Ok((path, query)),
        _ => Err(bad("the request target is malformed")),
    }
}

impl<'a> RequestHead<'a> {
    /// The first value of that name that is text; case does not matter.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.text(name)
    }

    /// The members of a comma-separated header, over all its lines.
    pub fn header_members<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        self.headers.members(name)
    }

    /// The token of `Authorization: Bearer …`.
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        let token = token.trim_ascii();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }

    /// A value of the query, decoded (`+` is a space, as browsers send it). Twice the same key is refused:
    /// which one would count?
    pub fn query_value(&self, key: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        let mut found = None;
        for pair in self.query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(name).is_some_and(|name| name == key) {
                if found.is_some() {
                    return Err(bad("a query parameter stands twice"));
                }
                found = Some(decode(value).ok_or(bad("a query parameter is not percent-encoded UTF-8"))?);
            }
        }
        Ok(found)
    }

    /// Bytes of the body that follows.
    pub fn body_bytes(&self, max: usize) -> Result<usize, BadRequest> {
        match self.content_length {
            None if matches!(self.method, "POST" | "PUT" | "PATCH") => {
                Err(BadRequest { status: 411, reason: "a body needs a Content-Length" })
            }
            None => Ok(0),
            Some(bytes) => usize::try_from(bytes)
                .ok()
                .filter(|bytes| *bytes <= max)
                .ok_or(BadRequest { status: 413, reason: "the body is too large" }),
        }
    }

    /// The client sends its body only when it has read [`super::CONTINUE`].
    pub fn expects_continue(&self) -> bool {
        self.minor_version > 0 && self.headers.has_member("expect", "100-continue")
    }
}

/// `application/x-www-form-urlencoded`; `None` for a broken escape or what is not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' => b' ',
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}
