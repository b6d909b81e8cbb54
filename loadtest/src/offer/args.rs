//! The flags of `loadtest offer`.

use std::path::PathBuf;

use clap::Args;
use wire::message::Priority;

use super::OfferConfig;
use crate::cli::Usage;
use crate::cli::checks::{duration, name, priority, rate, service_key, within};
use crate::limits::{BATCH_MAX, CONNECTIONS_MAX, MESSAGES_MAX, POSTERS_MAX, SIZE_MAX};
use crate::target;

/// Bytes of a user prefix.
const PREFIX_BYTES_MAX: usize = 200;

#[derive(Debug, Args)]
pub struct OfferArgs {
    /// The router's API.
    #[arg(long, default_value = "http://127.0.0.1:8090", value_name = "URL")]
    api: String,
    /// The service key.
    #[arg(long, default_value = "dev", conflicts_with = "key_file")]
    key: String,
    /// A file with the service key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Notifications a second.
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// How long: 500ms, 10s, 2m, 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    lasts: String,
    /// Each goes to one of so many users, drawn at random.
    #[arg(long, default_value_t = 1_000)]
    users: u32,
    /// User n is PREFIXn.
    #[arg(long, default_value = "offered", value_name = "PREFIX")]
    user_prefix: String,
    /// How urgent they are: critical, high, normal or low.
    #[arg(long, default_value = "normal", value_parser = priority)]
    priority: Priority,
    /// By which channels, as inapp,push.
    #[arg(long, default_value = "inapp", value_delimiter = ',')]
    channels: Vec<String>,
    /// Bytes of each body text.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Notifications of one request at most.
    #[arg(long, default_value_t = 500)]
    batch: u16,
    /// Threads that post, each with a connection of its own.
    #[arg(long, default_value_t = 4)]
    posters: u16,
    /// Write the report there; - is standard output, instead of the page.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl OfferArgs {
    pub(crate) fn settle(self, seed: u64, command: String) -> Result<OfferConfig, Usage> {
        let (rate, lasts) = (rate("--rate", self.rate)?, duration("--for", &self.lasts)?);
        let messages = (rate * lasts.as_secs_f64()).ceil();
        if !(1.0..=MESSAGES_MAX as f64).contains(&messages) {
            let why = format!("--rate × --for is {messages} notifications; 1 to {MESSAGES_MAX} are possible");
            return Err(Usage(why));
        }
        let channels = self.channels.into_iter().map(|channel| name("--channels", channel, 16));
        Ok(OfferConfig {
            api: target::parse_api(&self.api).map_err(|why| Usage(format!("--api {why}")))?,
            key: service_key(self.key_file.as_deref(), self.key)?,
            rate,
            lasts,
            batch: within("--batch", self.batch, 1, BATCH_MAX)?,
            posters: within("--posters", self.posters, 1, POSTERS_MAX)?,
            users: within("--users", self.users, 1, CONNECTIONS_MAX)?,
            user_prefix: name("--user-prefix", self.user_prefix, PREFIX_BYTES_MAX)?,
            priority: self.priority,
            channels: channels.collect::<Result<_, _>>()?,
            size: within("--size", self.size, 0, SIZE_MAX)?,
            seed,
            json: self.json,
            command,
        })
    }
}
