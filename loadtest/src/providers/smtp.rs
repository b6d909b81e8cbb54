//! A mail server: as much of SMTP as a client needs, with replies of real servers, and faults at the step where they hurt.
//!
//! `{"error": "550 5.1.1 no such user"}` is said to the recipient, `{"status": {"status": 454, "body": "Throttling failure: …"}}` after the
//! text. `reset` and `half` take the mail and tell nobody; `slow_ms` and `late_ms` are slow after the text.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Provider;
use super::faults::Fault;
use super::received::Letter;
use super::world::World;
use crate::limits::SIMULATED_REQUEST_BYTES_MAX;

const LINE_BYTES_MAX: u64 = 4_096;
const HELLO: &str = "250-simulated\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 10485760";
/// Clients that say nothing are sent away (RFC 5321, section 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(300);

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("smtp://{at}"), "host": at.ip().to_string(), "port": at.port() })
}

#[derive(Default)]
struct Mail {
    from: String,
    to: String,
    fault: Option<Fault>,
}

pub(super) async fn connection(stream: TcpStream, world: Arc<World>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 simulated ESMTP ready").await?;
    let mut mail = Mail::default();
    loop {
        let Some(line) = line(&mut stream).await? else { return Ok(()) };
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => say(&mut stream, HELLO).await?,
            "HELO" | "NOOP" => say(&mut stream, "250 simulated").await?,
            "AUTH" => say(&mut stream, "235 2.7.0 Authentication successful").await?,
            "MAIL" => {
                mail = Mail { from: path(rest), ..Mail::default() };
                say(&mut stream, "250 2.1.0 Ok").await?;
            }
            "RCPT" if mail.from.is_empty() => say(&mut stream, "503 5.5.1 Error: need MAIL command").await?,
            "RCPT" => {
                mail.to = path(rest);
                mail.fault = world.fault(Provider::Smtp, &mail.to);
                if let Some(Fault::Error(reply)) = &mail.fault {
                    keep(&world, &mail, Value::Null, reply, false);
                    say(&mut stream, reply).await?;
                    mail = Mail::default();
                } else {
                    say(&mut stream, "250 2.1.5 Ok").await?;
                }
            }
            "DATA" if mail.to.is_empty() => say(&mut stream, "554 5.5.1 Error: no valid recipients").await?,
            "DATA" => {
                say(&mut stream, "354 End data with <CR><LF>.<CR><LF>").await?;
                let Some(text) = text(&mut stream).await? else { return Ok(()) };
                match end(&world, std::mem::take(&mut mail), &text).await {
                    Some(reply) => say(&mut stream, &reply).await?,
                    None => return Ok(()),
                }
            }
            "RSET" => {
                mail = Mail::default();
                say(&mut stream, "250 2.0.0 Ok").await?;
            }
            "QUIT" => return say(&mut stream, "221 2.0.0 Bye").await,
            _ => say(&mut stream, "502 5.5.2 Error: command not recognized").await?,
        }
    }
}

/// What is said after the text; `None`: nothing, and the connection ends.
async fn end(world: &World, mail: Mail, text: &str) -> Option<String> {
    if let Some(Fault::SlowMs(ms) | Fault::LateMs(ms)) = mail.fault {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let refused = match &mail.fault {
        Some(Fault::Status { status, body, .. }) => Some(format!("{status} {body}")),
        Some(Fault::Throttle { .. }) => {
            Some("454 Throttling failure: Maximum sending rate exceeded.".to_owned())
        }
        _ => None,
    };
    let content = content(&mail, text);
    if let Some(reply) = refused {
        keep(world, &mail, content, &reply, false);
        return Some(reply);
    }
    let reply = format!("250 2.0.0 Ok: queued as {:010X}", world.next_id());
    keep(world, &mail, content, &reply, true);
    match mail.fault {
        Some(Fault::Reset | Fault::Half) => None,
        _ => Some(reply),
    }
}

fn content(mail: &Mail, text: &str) -> Value {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    json!({ "from": mail.from, "headers": head, "body": body })
}

fn keep(world: &World, mail: &Mail, content: Value, answer: &str, taken: bool) {
    world.keep(Letter {
        number: 0,
        at: world.clock.wall(),
        provider: Provider::Smtp,
        to: mail.to.clone(),
        taken,
        answer: answer.to_owned(),
        content,
    });
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await
}

/// `None`: the client is gone, or says nothing, or too much.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut bounded = stream.take(LINE_BYTES_MAX);
    let read = tokio::time::timeout(IDLE, bounded.read_until(b'\n', &mut bytes)).await;
    if !matches!(read, Ok(Ok(_))) || !bytes.ends_with(b"\n") {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// To the line with nothing but a dot, with stuffed dots taken out.
async fn text(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    loop {
        let Some(line) = line(stream).await? else { return Ok(None) };
        if line == "." {
            return Ok(Some(text));
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
        if text.len() > SIMULATED_REQUEST_BYTES_MAX {
            return Ok(None);
        }
    }
}

/// `FROM:<a@b> SIZE=1` → `a@b`.
fn path(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inner, _)| inner);
    inner.unwrap_or_default().to_owned()
}
