//! The server's side of event streams: `GET /v1/events` and what their clients post.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::server::{Asked, Server, read_request};

/// What every stream says of `retry:`.
pub const RETRY_MS: u64 = 300;

impl Server {
    /// As [`Server::url`], for clients of streams.
    pub fn stream_url(&self) -> String {
        format!("http://{}", self.clients)
    }

    /// The `Last-Event-ID`s of all who came back.
    pub fn resumed(&self) -> Vec<String> {
        self.seen().resumed.clone()
    }

    pub(super) fn serve_stream(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let Some(asked) = read_request(&mut reader) else { return };
        let user = asked.path.split("user=").nth(1).unwrap_or("").to_owned();
        if asked.method == "POST" {
            let answer = self.hear(&user, &asked.body);
            let _gone = stream.write_all(answer.as_bytes());
            return;
        }
        if !self.admits(&user) {
            let (status, after) = (self.manners.refuse_status, self.manners.retry_after_s);
            let refusal =
                format!("HTTP/1.1 {status} X\r\nRetry-After: {after}\r\nContent-Length: 2\r\n\r\n{{}}");
            let _gone = stream.write_all(refusal.as_bytes());
            return;
        }
        if self.open(&user, &asked, &mut stream).is_ok() {
            // Until it hangs up.
            let _ended = reader.read(&mut [0]);
        }
    }

    /// Head, `retry:`, welcome, and what was missed.
    fn open(&self, user: &str, asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
        let welcome = json!({ "type": "welcome", "session": "s", "node": "n", "ping_interval_ms": 25_000,
            "server_time": "2026-01-01T00:00:00Z", "reconnect": { "spread_ms": 50, "max_ms": 1_000 } });
        let mut first = wire::sse::response_head(None).to_vec();
        first.extend(wire::sse::retry(RETRY_MS));
        first.extend(wire::sse::event(None, welcome.to_string().as_bytes()));
        first.extend_from_slice(wire::sse::HEARTBEAT);
        let mut seen = self.seen();
        if let Some((_, id)) = asked.headers.iter().find(|(name, _)| name == "last-event-id") {
            seen.resumed.push(id.clone());
            let inbox = seen.inboxes.get(user).into_iter().flatten();
            for notification in inbox.filter(|one| event_id(one) > *id) {
                let text = notification.to_string().replacen('{', r#"{"type":"notification","#, 1);
                first.extend(wire::sse::event(Some(&event_id(notification)), text.as_bytes()));
            }
        }
        stream.write_all(&first)?;
        seen.streams.insert(user.to_owned(), stream.try_clone()?);
        Ok(())
    }

    fn hear(&self, user: &str, body: &str) -> String {
        let said: Value = serde_json::from_str(body).expect("clients speak JSON");
        let reply = match said["type"].as_str() {
            Some("ack") if self.read(&said) => {
                return "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n".to_owned();
            }
            Some("ack") => {
                return "HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned();
            }
            Some("subscribe") => json!({ "type": "subscribed", "topics": said["topics"] }),
            Some("sync") => self.page(user, &said),
            other => panic!("not expected here: {other:?}"),
        };
        let reply = reply.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}", reply.len())
    }
}

fn event_id(notification: &Value) -> String {
    let text = |name: &str| notification[name].as_str().expect("text").to_owned();
    format!("{}_{}", text("created_at"), text("id"))
}
