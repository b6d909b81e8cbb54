//! E-mail by a mail server: SMTP step by step, so that it is known how far a mail came.
//!
//! Until the text of the mail is on its way nothing was sent, whatever happens; after that only a reply tells. Connections are kept
//! for the next mail for a while, a bounded number of them.
//! Source: RFC 5321, RFC 3463 (enhanced codes), RFC 3207 (STARTTLS).

use std::error::Error as _;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use ops::clock::Clock;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wire::time::Mono;

use super::classify::{self, Step as At};
use super::letter::{Answer, Carrier, Class, Letter, Refusal};
use super::mail::{mail, message};
use super::ses::no_mail;
use super::unreached::{CONNECT, TLS, Unreached, causes};
use super::{reply, words};
use crate::config::{SmtpConfig, SmtpSecurity};
use crate::limits::{
    CARRIER_CONNECT_WITHIN, CARRIER_IDLE, CARRIER_MAIL_PATIENCE, CARRIER_PATIENCE, SMTP_CONNECTIONS_MAX,
};

/// "Start mail input", and "completed" (RFC 5321, section 4.2.3).
const GO_ON: u16 = 354;
const DONE: u16 = 250;

/// One mail server.
pub struct Smtp {
    config: SmtpConfig,
    tls: TlsParameters,
    hello: ClientId,
    idle: Mutex<Vec<(AsyncSmtpConnection, Mono)>>,
    room: Semaphore,
    clock: Clock,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What went wrong, and whether the mail may have gone out.
#[derive(Debug)]
enum Trouble {
    /// A reply that is a no: of this mail, the connection is good.
    No { at: At, code: u16, words: String },
    /// There is no connection yet, or none that may be used.
    Unreached(Unreached),
    /// No reply, or none that is one.
    Broken(String),
}

type Step<T> = Result<T, Trouble>;

impl Smtp {
    pub fn new(config: &SmtpConfig, clock: Clock) -> Smtp {
        Smtp {
            tls: config.trust.mail(&config.host),
            hello: ClientId::Domain(config.from.email.domain().to_owned()),
            config: config.clone(),
            idle: Mutex::default(),
            room: Semaphore::new(SMTP_CONNECTIONS_MAX),
            clock,
        }
    }

    /// A connection that is greeted, encrypted and known. `true`: it served another mail before.
    async fn connection(&self) -> Step<(AsyncSmtpConnection, bool)> {
        match self.kept() {
            Some(kept) => Ok((kept, true)),
            None => Ok((self.connect().await?, false)),
        }
    }

    fn kept(&self) -> Option<AsyncSmtpConnection> {
        let now = self.clock.mono();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| now.since(*since) < CARRIER_IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SMTP_CONNECTIONS_MAX {
            idle.push((connection, self.clock.mono()));
        }
    }

    async fn connect(&self) -> Step<AsyncSmtpConnection> {
        let SmtpConfig { host, port, security, login, .. } = &self.config;
        let at_once = (*security == SmtpSecurity::Tls).then(|| self.tls.clone());
        let server = (host.as_str(), *port);
        let connecting = AsyncSmtpConnection::connect_tokio1(
            server,
            Some(CARRIER_CONNECT_WITHIN),
            &self.hello,
            at_once,
            None,
        );
        let mut connection = connecting.await.map_err(|error| no_connection(&error))?;
        if *security == SmtpSecurity::StartTls {
            if !connection.can_starttls() {
                let why = "it offers no STARTTLS, and nothing is sent in plain text".to_owned();
                return Err(Trouble::Unreached(Unreached { code: TLS, why }));
            }
            connection
                .starttls(self.tls.clone(), &self.hello)
                .await
                .map_err(|error| no_connection(&error))?;
        }
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
            connection
                .auth(DEFAULT_MECHANISMS, &credentials)
                .await
                .map_err(|error| trouble(At::Hello, &error))?;
        }
        Ok(connection)
    }

    /// From the envelope to the word that the text may follow.
    async fn announce(&self, connection: &mut AsyncSmtpConnection, envelope: &Envelope) -> Step<()> {
        let to = envelope.to()[0].clone();
        let mut parameters = Vec::new();
        if !to.to_string().is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Trouble::No {
                    at: At::To,
                    code: 553,
                    words: "5.6.7 the server takes no such address".to_owned(),
                });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = envelope.from().cloned();
        connection
            .command(MailFrom::new(from, parameters))
            .await
            .map_err(|error| trouble(At::From, &error))?;
        connection.command(Rcpt::new(to, Vec::new())).await.map_err(|error| trouble(At::To, &error))?;
        let reply = connection.command(Data).await.map_err(|error| trouble(At::Data, &error))?;
        if reply.has_code(GO_ON) {
            Ok(())
        } else {
            Err(Trouble::Broken("it does not ask for the text".to_owned()))
        }
    }

    /// A connection on which the text may follow. One that was kept may have been closed meanwhile: then on a new one.
    async fn announced(&self, envelope: &Envelope) -> Step<AsyncSmtpConnection> {
        loop {
            let (mut connection, was_kept) = self.connection().await?;
            match self.announce(&mut connection, envelope).await {
                Ok(()) => return Ok(connection),
                Err(Trouble::Broken(_) | Trouble::No { code: 421, .. }) if was_kept => {}
                Err(no @ Trouble::No { .. }) => {
                    self.keep_after_reset(connection).await;
                    return Err(no);
                }
                Err(broken) => return Err(broken),
            }
        }
    }

    /// The server forgets the mail that it refused a part of.
    async fn keep_after_reset(&self, mut connection: AsyncSmtpConnection) {
        if connection.command(Rset).await.is_ok() {
            self.keep(connection);
        }
    }
}

#[async_trait]
impl Carrier for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let mail = match mail(letter, &self.config.from) {
            Ok(mail) => mail,
            Err(why) => return no_mail(why),
        };
        let Ok(message) = message(&mail, &self.config.from) else {
            return no_mail(super::mail::NoMail::Address);
        };
        let patience = CARRIER_PATIENCE;
        // Never closed, so this is always a permit. The wait for it is not the server's fault.
        let permit = self.room.acquire().await;
        let announced = within(patience, self.announced(message.envelope()));
        let mut connection = match announced.await {
            Ok(connection) => connection,
            Err(trouble) => return refused(trouble, letter),
        };
        let text = message.formatted();
        let said = within(CARRIER_MAIL_PATIENCE, async {
            connection.message(&text).await.map_err(|error| trouble(At::Text, &error))
        });
        let answer = match said.await {
            // Another answer than this is to some other question: the two are not in step.
            Ok(reply) if !reply.has_code(DONE) => Answer::Unknown { why: "an answer out of step".to_owned() },
            Ok(reply) => {
                self.keep(connection);
                Answer::Taken { reference: reference(&reply) }
            }
            Err(Trouble::Broken(why)) => Answer::Unknown { why },
            Err(no) => {
                self.keep(connection);
                refused(no, letter)
            }
        };
        drop(permit);
        answer
    }
}

async fn within<T>(patience: std::time::Duration, step: impl Future<Output = Step<T>>) -> Step<T> {
    let late = || Trouble::Broken(format!("no answer within {} s", patience.as_secs()));
    timeout(patience, step).await.unwrap_or_else(|_| Err(late()))
}

fn trouble(at: At, error: &lettre::transport::smtp::Error) -> Trouble {
    let words = || error.source().map_or_else(|| error.to_string(), ToString::to_string);
    match error.status() {
        Some(code) => Trouble::No { at, code: u16::from(code), words: words() },
        None => Trouble::Broken(words()),
    }
}

/// In the greeting and in TLS. Any other cause may quote what the server said, and is cut like its words.
fn no_connection(error: &lettre::transport::smtp::Error) -> Trouble {
    let is_ours = |cause: &&(dyn std::error::Error + 'static)| {
        cause.is::<std::io::Error>() || cause.is::<rustls::Error>()
    };
    match (error.status(), causes(error).find(is_ours)) {
        (None, Some(cause)) => Trouble::Unreached(Unreached::of(cause)),
        _ => trouble(At::Hello, error),
    }
}

/// What a no means where nothing was sent.
fn refused(trouble: Trouble, letter: &Letter) -> Answer {
    let refusal = |class, code: String, said: &str| {
        Answer::Refused(Refusal { class, code, detail: words::detail(said, letter), retry_after: None })
    };
    match trouble {
        Trouble::Unreached(unreached) => reply::not_reached(unreached),
        Trouble::Broken(why) => refusal(Class::Fault, CONNECT.to_owned(), &why),
        Trouble::No { at, code, words } => {
            let enhanced = classify::enhanced(&words).map_or_else(String::new, |code| format!(" {code}"));
            refusal(classify::smtp(at, code, &words), format!("{code}{enhanced}"), &words)
        }
    }
}

/// What the server calls the mail, if it says so: `Ok 0102018…`, `2.0.0 Ok: queued as 4XyZ`.
fn reference(reply: &Response) -> Option<String> {
    let line = reply.first_line()?;
    let word = line.split_whitespace().last()?;
    let is_id =
        word.len() >= 6 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@<>".contains(&byte));
    is_id.then(|| word.chars().take(128).collect())
}
