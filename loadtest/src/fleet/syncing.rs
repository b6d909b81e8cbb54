//! Fetching what was missed, page by page, from the point at which a client last knew everything. Pure; part of `fleet`.

use std::time::Duration;

use wire::message::{ClientMessage, SyncBatch, SyncRequest};
use wire::time::{Mono, Wall};

use super::errands::Matter;
use super::timers::{Wake, Why};
use super::{Fleet, Phase};

impl Fleet {
    /// Asks for what was missed since `since`, or since the newest that was heard of. What comes live before the pages are
    /// through does not move the point: a sync that is cut off begins there again.
    pub(super) fn sync(&mut self, place: u32, since: Option<Wall>) {
        if !self.config.syncs {
            return;
        }
        let client = &mut self.clients[place as usize];
        let known = if client.sync_from_us == 0 { client.seen_us } else { client.sync_from_us };
        client.sync_from_us = since.map_or(known, |since| since.0.min(known));
        let last_seen_at = Some(Wall(client.sync_from_us));
        self.ask(place, SyncRequest { last_seen_at, cursor: None, limit: None });
    }

    pub(super) fn handle_page(&mut self, place: u32, batch: &SyncBatch) {
        if batch.has_more && self.config.syncs {
            let cursor = Some(batch.cursor.clone());
            self.ask(place, SyncRequest { last_seen_at: None, cursor, limit: None });
        } else {
            self.clients[place as usize].sync_from_us = 0;
        }
    }

    /// The server could not take a question now: a sync that was not answered is asked again.
    pub(super) fn sync_again(&mut self, place: u32, after: Duration, now: Mono) {
        let client = &self.clients[place as usize];
        if client.sync_from_us != 0 && client.phase == Phase::In {
            let wake = Wake { place, epoch: client.epoch, why: Why::Syncs };
            self.timers.set_wake(now + after, wake);
        }
    }

    fn ask(&mut self, place: u32, request: SyncRequest) {
        self.say_message(place, &ClientMessage::Sync(request), Matter::Sync);
    }
}
