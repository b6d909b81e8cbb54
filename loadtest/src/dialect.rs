//! What the servers that we are compared with speak: how a client gets in, what it must answer, how a service publishes. Pure:
//! bytes in, a decision out. Called by `fleet` (a simulated client of such a server) and by `compare` (the publisher).
//!
//! The messages themselves are told by the run's marks wherever they stand in a payload, so a dialect need not read them.

use serde_json::json;
use wire::ws::{Data, OpCode};

/// The channel, or subject, that everybody is subscribed to.
const CHANNEL: &str = "all";
/// Where a publisher of the plain servers connects: what it says goes to all others.
const PUBLISH_PATH: &str = "/publish";

/// A server's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Ours: `wire` knows it, and the fleet speaks it by itself.
    #[default]
    Tocsin,
    /// Centrifugo's JSON protocol: one `connect` and one `subscribe`, then pushes; an empty object is a ping.
    Centrifugo,
    /// NATS in binary WebSocket frames: `INFO`, `CONNECT`, `SUB`, then `MSG`.
    Nats,
    /// The bare servers of `loadtest/peers`: the first text frame is the welcome, every other one a message.
    Plain,
}

/// What a payload of the server means to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The client is in: connected and subscribed.
    In,
    /// This is to be said at once.
    Reply(&'static str),
    /// Nothing but messages, if any.
    Messages,
    /// The server refuses.
    Refused(&'static str),
}

impl Dialect {
    /// Path and query of a subscriber's upgrade, where the URL gave none (`given` is then ours).
    pub fn path(self, given: &str) -> &str {
        match self {
            Dialect::Centrifugo if given == crate::target::PATH_DEFAULT => "/connection/websocket",
            Dialect::Nats | Dialect::Plain if given == crate::target::PATH_DEFAULT => "/",
            _ => given,
        }
    }

    /// The subprotocols that are offered.
    pub fn protocols(self) -> &'static [&'static str] {
        if self == Dialect::Tocsin { &["tocsin.v1"] } else { &[] }
    }

    /// The kind of frame that carries this language.
    pub fn opcode(self) -> OpCode {
        OpCode::Data(if self == Dialect::Nats { Data::Binary } else { Data::Text })
    }

    /// What a client says right behind the upgrade.
    pub fn opening(self) -> Option<&'static str> {
        // Two commands in one frame, as the protocol allows.
        const COMMANDS: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"all\"}}";
        (self == Dialect::Centrifugo).then_some(COMMANDS)
    }

    /// Reads one payload; `inside` says whether the client is in already.
    pub fn read(self, payload: &str, inside: bool) -> Heard {
        match self {
            Dialect::Tocsin => Heard::Messages,
            Dialect::Plain => {
                if inside {
                    Heard::Messages
                } else {
                    Heard::In
                }
            }
            Dialect::Centrifugo => read_centrifugo(payload, inside),
            Dialect::Nats => read_nats(payload),
        }
    }
}

fn read_centrifugo(payload: &str, inside: bool) -> Heard {
    if payload == "{}" {
        return Heard::Reply("{}");
    }
    if inside {
        return Heard::Messages;
    }
    for line in payload.lines() {
        if line.starts_with("{\"id\":") && line.contains("\"error\":") {
            return Heard::Refused("centrifugo: a command was refused");
        }
        if line.starts_with("{\"id\":2,\"subscribe\"") {
            return Heard::In;
        }
    }
    Heard::Messages
}

/// Walks the operations of a frame; the bodies of messages are stepped over, not searched.
fn read_nats(payload: &str) -> Heard {
    const HELLO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}\r\n\
         SUB all 1\r\nPING\r\n";
    let mut rest = payload;
    while let Some((line, behind)) = rest.split_once("\r\n") {
        rest = behind;
        let verb = line.split(' ').next().unwrap_or_default();
        match verb {
            "INFO" => return Heard::Reply(HELLO),
            "PONG" => return Heard::In,
            "PING" => return Heard::Reply("PONG\r\n"),
            "-ERR" => return Heard::Refused("nats: -ERR"),
            "MSG" => {
                let bytes = line.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
                let Some(behind) = bytes.and_then(|bytes| rest.get(bytes + 2..)) else {
                    return Heard::Messages;
                };
                rest = behind;
            }
            _ => {}
        }
    }
    Heard::Messages
}

/// How a service reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishing {
    /// A POST: path for one message, path for several, and their content type.
    Http { one: &'static str, many: &'static str, content_type: &'static str },
    /// A WebSocket of its own on this path, each frame a publication. What it says first, if anything.
    Socket { path: &'static str, opening: Option<&'static str> },
}

impl Dialect {
    pub fn publishing(self) -> Publishing {
        match self {
            Dialect::Tocsin => Publishing::Http {
                one: "/v1/notifications",
                many: "/v1/notifications/batch",
                content_type: "application/x-ndjson",
            },
            Dialect::Centrifugo => {
                Publishing::Http { one: "/api/publish", many: "/api/batch", content_type: "application/json" }
            }
            Dialect::Nats => Publishing::Socket {
                path: "/",
                opening: Some(
                    "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\"}\r\n",
                ),
            },
            Dialect::Plain => Publishing::Socket { path: PUBLISH_PATH, opening: None },
        }
    }

    /// One publication. `data` is the mark's JSON object (see `marker`); `pad` bytes make it as long as the others'.
    pub fn publication(self, data: &str, pad: usize) -> String {
        let body = "x".repeat(pad);
        let padded = || format!("{},\"p\":\"{body}\"}}", data.trim_end_matches('}'));
        match self {
            Dialect::Tocsin => {
                format!(
                    r#"{{"to":{{"all":true}},"category":"loadtest","title":"loadtest","body":"{body}","data":{data}}}"#
                )
            }
            Dialect::Centrifugo => format!(r#"{{"channel":"{CHANNEL}","data":{}}}"#, padded()),
            Dialect::Nats => {
                let payload = padded();
                format!("PUB {CHANNEL} {}\r\n{payload}\r\n", payload.len())
            }
            Dialect::Plain => padded(),
        }
    }

    /// The body of one request for several publications.
    pub fn batch(self, publications: &[String]) -> String {
        match self {
            Dialect::Centrifugo => {
                let commands = publications.iter().map(|one| format!(r#"{{"publish":{one}}}"#));
                format!(r#"{{"commands":[{}]}}"#, commands.collect::<Vec<_>>().join(","))
            }
            _ => publications.join("\n"),
        }
    }

    /// How many publications an answer of the HTTP API took; the others were refused.
    pub fn taken(self, status: u16, answer: &str) -> usize {
        let lines = || answer.lines().map(|line| serde_json::from_str(line).unwrap_or(json!(null)));
        match (self, status) {
            (Dialect::Tocsin, 202) => 1,
            (Dialect::Tocsin, 200) => {
                lines().filter(|line: &serde_json::Value| line["id"].is_string()).count()
            }
            (Dialect::Centrifugo, 200) => {
                lines().map(|answer: serde_json::Value| taken_of_centrifugo(&answer)).sum()
            }
            _ => 0,
        }
    }
}

fn taken_of_centrifugo(answer: &serde_json::Value) -> usize {
    match answer["replies"].as_array() {
        Some(replies) => replies.iter().filter(|reply| reply["publish"].is_object()).count(),
        None => usize::from(answer["result"].is_object()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{Mark, Marker, Recipient};

    #[test]
    fn a_centrifugo_client_is_in_once_it_is_subscribed() {
        let read = |text| Dialect::Centrifugo.read(text, false);
        assert_eq!(
            read("{\"id\":1,\"connect\":{\"client\":\"x\",\"version\":\"6\",\"ping\":25,\"pong\":true}}"),
            Heard::Messages
        );
        assert_eq!(read("{\"id\":1,\"connect\":{\"client\":\"x\"}}\n{\"id\":2,\"subscribe\":{}}"), Heard::In);
        assert_eq!(read("{\"id\":2,\"subscribe\":{}}"), Heard::In);
        let refused = read("{\"id\":2,\"error\":{\"code\":103,\"message\":\"permission denied\"}}");
        assert!(matches!(refused, Heard::Refused(_)), "{refused:?}");
        assert_eq!(Dialect::Centrifugo.read("{}", true), Heard::Reply("{}"));
        // A message that talks of errors and subscriptions is a message.
        let push = "{\"push\":{\"channel\":\"all\",\"pub\":{\"data\":{\"id\":2,\"error\":1}}}}";
        assert_eq!(Dialect::Centrifugo.read(push, true), Heard::Messages);
    }

    #[test]
    fn a_nats_client_greets_is_in_with_the_first_pong_and_answers_pings_between_messages() {
        let nats = |text| Dialect::Nats.read(text, false);
        let Heard::Reply(hello) = nats("INFO {\"server_id\":\"n\"}\r\n") else { panic!("a greeting") };
        assert!(hello.starts_with("CONNECT {") && hello.ends_with("SUB all 1\r\nPING\r\n"), "{hello}");
        assert_eq!(nats("PONG\r\n"), Heard::In);
        assert_eq!(nats("MSG all 1 6\r\nPING\r\n\r\nMSG all 1 2\r\nab\r\n"), Heard::Messages);
        assert_eq!(nats("MSG all 1 2\r\nab\r\nPING\r\n"), Heard::Reply("PONG\r\n"));
        assert!(matches!(nats("-ERR 'Authorization Violation'\r\n"), Heard::Refused(_)));
        for torn in ["MSG all 1 99\r\nab", "MSG all 1 x\r\nab\r\n", "MSG", ""] {
            assert_eq!(nats(torn), Heard::Messages, "{torn:?}");
        }
    }

    #[test]
    fn the_first_frame_of_a_plain_server_is_its_welcome() {
        assert_eq!(Dialect::Plain.read("welcome", false), Heard::In);
        assert_eq!(Dialect::Plain.read("a message", true), Heard::Messages);
    }

    #[test]
    fn a_url_without_a_path_gets_each_servers_own() {
        for (dialect, path) in [
            (Dialect::Tocsin, "/v1/connect"),
            (Dialect::Centrifugo, "/connection/websocket"),
            (Dialect::Nats, "/"),
            (Dialect::Plain, "/"),
        ] {
            assert_eq!(dialect.path("/v1/connect"), path);
            assert_eq!(dialect.path("/other?x=1"), "/other?x=1");
        }
    }

    #[test]
    fn every_publication_carries_its_mark_and_grows_by_its_pad() {
        let marker = Marker::new(7);
        let mark = Mark { number: 3, recipient: Recipient::All };
        for dialect in [Dialect::Tocsin, Dialect::Centrifugo, Dialect::Nats, Dialect::Plain] {
            let (short, long) =
                (dialect.publication(&marker.data(mark), 0), dialect.publication(&marker.data(mark), 90));
            assert_eq!(marker.find(&long).collect::<Vec<_>>(), [mark], "{long}");
            // NATS says the length in digits, one more from 100 on.
            assert!((90..=91).contains(&(long.len() - short.len())), "{dialect:?}");
        }
        let nats = Dialect::Nats.publication(&marker.data(mark), 5);
        let (head, body) = nats.split_once("\r\n").expect("a line");
        assert_eq!(head, format!("PUB all {}", body.len() - 2));
    }

    #[test]
    fn batches_and_their_answers_are_counted_one_by_one() {
        let two = ["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()];
        assert_eq!(Dialect::Tocsin.batch(&two), "{\"a\":1}\n{\"b\":2}");
        assert_eq!(
            Dialect::Centrifugo.batch(&two),
            "{\"commands\":[{\"publish\":{\"a\":1}},{\"publish\":{\"b\":2}}]}"
        );
        assert_eq!(Dialect::Tocsin.taken(202, "{\"id\":\"n\"}"), 1);
        assert_eq!(Dialect::Tocsin.taken(200, "{\"id\":\"n\"}\n{\"status\":429}"), 1);
        assert_eq!(Dialect::Tocsin.taken(429, "{}"), 0);
        assert_eq!(Dialect::Centrifugo.taken(200, "{\"result\":{}}"), 1);
        assert_eq!(Dialect::Centrifugo.taken(200, "{\"error\":{\"code\":107}}"), 0);
        let replies = "{\"replies\":[{\"publish\":{}},{\"error\":{\"code\":102}}]}";
        assert_eq!(Dialect::Centrifugo.taken(200, replies), 1);
    }
}
