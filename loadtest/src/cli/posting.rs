//! The flags of scenarios that send. Part of `cli`.

use std::path::PathBuf;

use clap::Args;
use wire::message::Priority;

use crate::api::To;
use crate::config::Posting;
use crate::limits::{BATCH_MAX, POSTERS_MAX, SIZE_MAX};
use crate::target;

use super::Usage;
use super::checks::{duration, priority, rate, service_key, within};
use super::common::Common;

/// Messages a second that one posting thread manages even if each answer takes 10 ms.
const RATE_A_POSTER: f64 = 50.0;
const POSTERS_LEAST: u16 = 4;
const POSTERS_BY_ITSELF_MAX: u16 = 128;
/// From this rate on, late messages are posted together.
const BATCH_FROM_RATE: f64 = 2_000.0;

#[derive(Debug, Default, Args)]
pub(super) struct PostingArgs {
    /// The router's API.
    #[arg(long, default_value = "http://127.0.0.1:8090", value_name = "URL")]
    api: String,
    /// The service key.
    #[arg(long, default_value = "dev", conflicts_with = "key_file")]
    key: String,
    /// A file with the service key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How urgent the messages are: critical, high, normal or low.
    #[arg(long, default_value = "normal", value_parser = priority)]
    priority: Priority,
    /// Bytes of each message's body text.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Threads that post, each with a connection of its own [default: by rate]
    #[arg(long)]
    posters: Option<u16>,
    /// Messages that are due and may go in one request [default: 1, and 64 from 2,000 a second]
    #[arg(long)]
    batch: Option<u16>,
    /// Clients acknowledge what they get.
    #[arg(long)]
    acks: bool,
    /// How long copies may still come after the last post.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    settle: String,
}

impl PostingArgs {
    pub(super) fn settle(
        self,
        per_s: f64,
        to: To,
        common: &Common,
        messages_max: u64,
    ) -> Result<Posting, Usage> {
        let rate = rate(if to == To::Each { "--notify-rate" } else { "--rate" }, per_s)?;
        let messages = match to {
            To::Each => u64::from(common.connections),
            _ => (rate * common.lasts()?.as_secs_f64()).ceil() as u64,
        };
        if !(1..=messages_max).contains(&messages) {
            return Err(Usage(format!(
                "--rate × --for is {messages} messages; 1 to {messages_max} are possible"
            )));
        }
        let api = target::parse_api(&self.api).map_err(|why| Usage(format!("--api {why}")))?;
        let key = service_key(self.key_file.as_deref(), self.key)?;
        let by_itself = ((rate / RATE_A_POSTER).ceil() as u16).clamp(POSTERS_LEAST, POSTERS_BY_ITSELF_MAX);
        let batch_by_itself = if rate >= BATCH_FROM_RATE { 64 } else { 1 };
        Ok(Posting {
            api,
            key,
            acks: self.acks || to == To::Each,
            to,
            rate,
            messages,
            priority: self.priority,
            size: within("--size", self.size, 0, SIZE_MAX)?,
            posters: within("--posters", self.posters.unwrap_or(by_itself), 1, POSTERS_MAX)?,
            batch: within("--batch", self.batch.unwrap_or(batch_by_itself), 1, BATCH_MAX)?,
            settle: duration("--settle", &self.settle)?,
        })
    }
}
