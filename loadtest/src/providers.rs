//! Simulators of the providers that carry letters: FCM with Google's token server, APNs, Web Push, SES with SNS, SMTP, Twilio.
//!
//! One process, a listener each, and one to control them: `PUT /faults` says what they do wrong, `GET /received` shows what came. They answer
//! with the providers' real bodies and codes, check what the providers check, and call back as those do. Everything kept
//! is bounded. Called by `main`; the harness of the tests reads the line of JSON that it prints.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use ops::clock::Clock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

mod apns;
pub mod args;
mod callbacks;
mod control;
pub mod faults;
mod fcm;
mod goaway;
mod google;
mod http;
mod listener;
pub mod received;
mod ses;
mod simulated;
mod smtp;
mod sns;
mod twilio;
mod webpush;
mod world;

use faults::Faults;
use world::World;

/// Who is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Twilio,
    /// Google's token server.
    Google,
    Fcm,
    Apns,
    WebPush,
    Ses,
    Smtp,
    /// Tells what became of SES's mails.
    Sns,
}

impl Provider {
    pub const ALL: [Provider; 8] = [
        Provider::Twilio,
        Provider::Google,
        Provider::Fcm,
        Provider::Apns,
        Provider::WebPush,
        Provider::Ses,
        Provider::Smtp,
        Provider::Sns,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Provider::Twilio => "twilio",
            Provider::Google => "google",
            Provider::Fcm => "fcm",
            Provider::Apns => "apns",
            Provider::WebPush => "webpush",
            Provider::Ses => "ses",
            Provider::Smtp => "smtp",
            Provider::Sns => "sns",
        }
    }
}

/// What a run of the simulators is given.
#[derive(Debug)]
pub struct ProvidersConfig {
    /// The control's; the providers have the ports behind it, or free ones if its port is 0.
    pub listen: SocketAddr,
    pub faults: Faults,
}

/// Why they do not run; one line.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("{0}")]
    Start(#[from] std::io::Error),
}

/// Serves until SIGTERM or SIGINT. Prints one line of JSON when all listen.
pub fn serve(config: ProvidersConfig, clock: Clock) -> Result<(), ProvidersError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let world = Arc::new(World::new(config.faults, clock));
        let control =
            listener::bind(config.listen).map_err(|why| ProvidersError::Listen(config.listen, why))?;
        let mut addresses = Map::new();
        addresses.insert("control".to_owned(), json!(format!("http://{}", control.local_addr()?)));
        for (number, provider) in Provider::ALL.into_iter().enumerate() {
            let address = beside(config.listen, number);
            let socket = listener::bind(address).map_err(|why| ProvidersError::Listen(address, why))?;
            addresses.insert(provider.name().to_owned(), described(provider, socket.local_addr()?));
            if provider == Provider::Sns {
                world.topic.is_at(socket.local_addr()?);
            }
            tokio::spawn(listener::serve(provider, socket, Arc::clone(&world)));
        }
        tokio::spawn(control::serve(control, Arc::clone(&world)));
        let mut out = std::io::stdout();
        writeln!(out, "{}", Value::Object(addresses)).and_then(|()| out.flush())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}

fn beside(control: SocketAddr, number: usize) -> SocketAddr {
    let port = match control.port() {
        0 => 0,
        port => port.saturating_add(1 + number as u16),
    };
    SocketAddr::new(control.ip(), port)
}

/// Where it is, and the names and secrets that it takes: all of them are made up.
fn described(provider: Provider, at: SocketAddr) -> Value {
    match provider {
        Provider::Twilio => twilio::described(at),
        Provider::Google => google::described(at),
        Provider::Fcm => fcm::described(at),
        Provider::Apns => apns::described(at),
        Provider::WebPush => webpush::described(at),
        Provider::Ses => ses::described(at),
        Provider::Smtp => smtp::described(at),
        Provider::Sns => sns::described(at),
    }
}
