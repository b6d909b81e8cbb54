//! Who is here: connections come under their users and leave them, and a device is connected once.
//!
//! What was first or last is told to the routers; which device connected is told to the node's other shards,
//! so that its older connections end wherever they are. Called by the other files of `shard`.

use std::num::NonZeroU64;

use wire::close::CloseCode;
use wire::time::Wall;

use crate::shard::connection::{Connection, Device, DeviceName, Flags};
use crate::shard::registry::UserId;
use crate::shard::{Key, Named, Now, Shard};

impl Shard {
    /// A device connected to a sibling: its older connections here are replaced.
    pub fn handle_named(&mut self, named: &Named, now: Now) {
        let Some(user) = self.registry.find(&named.user) else { return };
        let own = self.config.shard;
        let older = |connection: &Connection| {
            let device = connection.device();
            device.is_some_and(|own_device| {
                own_device.name == named.device && (own_device.named_at, own) < named.stamp
            })
        };
        for key in self.keys_of(user, older) {
            self.close_session(key, CloseCode::Replaced, "", now);
        }
    }

    /// Puts an open connection under its user, which the census has counted, and tells the routers if it is the
    /// user's first.
    pub(super) fn join(
        &mut self,
        key: Key,
        user: &str,
        device: Option<String>,
        expires: Option<Wall>,
        now: Now,
    ) {
        let (id, is_first) = self.registry.join(user, key.index());
        if is_first {
            self.links.announce(user);
        }
        if let Some(connection) = self.sockets.slab.get(key) {
            connection.user = id;
            connection.flags.set(Flags::JOINED);
            // Rounded down, and never 0, which is "does not end".
            connection.expires_s =
                expires.map_or(0, |expires| u32::try_from(expires.0 / 1_000_000).unwrap_or(u32::MAX).max(1));
        }
        if let Some(device) = device {
            self.name_device(key, &device, now);
        }
        self.begin_life(key, now);
        self.arm_ping(key, now);
    }

    /// Takes an open connection from its user. Does nothing to one that is not open.
    pub(super) fn leave(&mut self, key: Key) {
        let Some(connection) = self.sockets.slab.get(key).filter(|connection| connection.is_open()) else {
            return;
        };
        connection.flags.clear(Flags::JOINED);
        let user = connection.user;
        if connection.flags.has(Flags::STREAM) {
            self.open_events -= 1;
        } else {
            self.open_websockets -= 1;
        }
        self.config.census.leave(self.registry.user_name(user));
        if let Some((name, topics)) = self.registry.leave(user, key.index()) {
            self.tell_topic_changes(topics);
            self.links.withdraw(&name);
        }
    }

    /// Says which device this is. The same device of the same user is connected once: an older connection is
    /// replaced.
    pub(super) fn name_device(&mut self, key: Key, device: &str, now: Now) {
        let Some(connection) = self.sockets.slab.get(key).filter(|connection| connection.is_open()) else {
            return;
        };
        let user = connection.user;
        let hash = self.hasher.hash_one(device);
        let name = DeviceName(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN));
        connection.extra.get_or_insert_default().device = Some(Device { name, named_at: now.mono });
        if self.has_siblings {
            let user = self.registry.user_name(user).to_owned();
            let stamp = (now.mono, self.config.shard);
            self.named.push_back(Named { user, device: name, stamp });
        }
        let is_replaced =
            |other: &Connection| other.key != key && other.device().is_some_and(|device| device.name == name);
        let replaced = self.keys_of(user, is_replaced);
        for older in replaced {
            self.close_session(older, CloseCode::Replaced, "", now);
        }
    }

    pub(super) fn keys_of(&mut self, user: UserId, wanted: impl Fn(&Connection) -> bool) -> Vec<Key> {
        let slab = &mut self.sockets.slab;
        let of_user = self.registry.connections(user);
        of_user.filter_map(|index| slab.at(index).filter(|c| wanted(c)).map(|c| c.key)).collect()
    }
}
