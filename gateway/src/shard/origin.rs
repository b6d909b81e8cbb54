//! Where a connection comes from: its peer, or whom a trusted proxy in front names; and whether that address
//! may have one more.
//!
//! A proxy is trusted by the operator's list alone, and everything it does not say is unknown, not guessed:
//! an unknown client is not counted under any address. What others send that looks like a PROXY header is no
//! HTTP and is refused as such; their `X-Forwarded-For` is not read. Called by `shard` and `handshake`.

use std::net::IpAddr;

use wire::http::RequestHead;
use wire::proxy::{self, Origin, Prefix, Prelude};

use crate::admission::Refusal;
use crate::census::{Room, Source};
use crate::metrics::{Handshake, Proxied};
use crate::shard::connection::{Behind, Head, State};
use crate::shard::{Key, Shard};

impl Shard {
    /// Takes a trusted proxy's PROXY header off the front of what a connection brought, before anything else
    /// (TLS above all) reads it; what is left is the client's. Empty: there is nothing to read yet.
    pub fn take_prelude<'d>(&mut self, key: Key, data: &'d mut [u8]) -> &'d mut [u8] {
        let Some(head) = self.head_of_proxy(key) else { return data };
        let before = head.bytes.len();
        head.bytes.extend_from_slice(data);
        let found = proxy::parse(&head.bytes);
        if found == Ok(Prelude::Incomplete) {
            return &mut [];
        }
        head.bytes = Vec::new();
        match found {
            Ok(Prelude::Header { origin, header_bytes }) => {
                self.name_client(key, origin);
                &mut data[header_bytes - before..]
            }
            Ok(_) => {
                head.behind = Behind::Forwarded;
                data
            }
            Err(why) => {
                tracing::debug!(%why, "a trusted proxy sent a PROXY header that is none");
                self.metrics().proxied(Proxied::Malformed);
                self.metrics().handshake(Handshake::BadRequest);
                self.sockets.abort(key);
                &mut []
            }
        }
    }

    /// The head of a connection whose PROXY header may still come.
    fn head_of_proxy(&mut self, key: Key) -> Option<&mut Head> {
        if self.config.settings.trusted_proxies.is_empty() {
            return None;
        }
        match &mut self.sockets.slab.get(key)?.state {
            State::Head(head) if head.behind == Behind::Proxy => Some(head),
            _ => None,
        }
    }

    /// A PROXY header said whose connection this is. Behind a second trusted proxy, `X-Forwarded-For` says on.
    fn name_client(&mut self, key: Key, origin: Origin) {
        let (behind, refused) = match origin {
            Origin::Unnamed => {
                self.metrics().proxied(Proxied::Unnamed);
                (Behind::Known, None)
            }
            Origin::Client(client) => {
                self.metrics().proxied(Proxied::Proxy);
                if Prefix::any_contains(&self.config.settings.trusted_proxies, client.ip()) {
                    (Behind::Forwarded, None)
                } else {
                    (Behind::Known, self.refuse_source(key, client.ip()))
                }
            }
        };
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if let State::Head(head) = &mut connection.state {
            head.behind = behind;
            head.refused = head.refused.or(refused);
        }
    }

    /// Counts a connection for the client that its trusted proxy's `X-Forwarded-For` names.
    pub(super) fn count_forwarded(&mut self, key: Key, head: &RequestHead<'_>) -> Option<Refusal> {
        let trusted = &self.config.settings.trusted_proxies;
        let Some(client) = proxy::forwarded_client(head.header_members("x-forwarded-for"), trusted) else {
            self.metrics().proxied(Proxied::Silent);
            return None;
        };
        self.metrics().proxied(Proxied::Forwarded);
        self.refuse_source(key, client)
    }

    /// Counts a connection that has its place already. A full address that keeps coming through a proxy is
    /// answered, too: a reset would be the proxy's to explain.
    fn refuse_source(&mut self, key: Key, address: IpAddr) -> Option<Refusal> {
        (self.count_source(key, address) != Room::Enough).then_some(Refusal::FullAddress)
    }

    /// Counts a connection for its address, if addresses are counted.
    pub(super) fn count_source(&mut self, key: Key, address: IpAddr) -> Room {
        let max = self.config.settings.connections_per_ip;
        if max == 0 {
            return Room::Enough;
        }
        let source = Source::of(address);
        let room = self.config.census.enter_from(source, max);
        if room != Room::Reset {
            let place = key.index() as usize;
            if place >= self.sources.len() {
                self.sources.resize(place + 1, Source::NONE);
            }
            self.sources[place] = source;
        }
        room
    }

    /// Ends the counting of a connection that is gone.
    pub(super) fn forget_source(&mut self, key: Key) {
        let Some(source) = self.sources.get_mut(key.index() as usize) else { return };
        let source = std::mem::replace(source, Source::NONE);
        if source != Source::NONE {
            self.config.census.leave_from(source);
        }
    }
}
