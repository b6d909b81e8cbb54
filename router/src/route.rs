//! Third step of the walk: which way a delivery goes.
//!
//! Pure. In-app goes to the inbox, and to the links that have, or may have, the user; everything else to its provider.
//! Called by `pipeline`, and by `owner` when a fallback's turn comes.

use wire::time::{Mono, Wall};

use crate::classify::Recipient;
use crate::ledger::Reason;
use crate::presence::{Presence, Whereabouts};
use crate::record::Channel;

/// What is to be done with one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into the inbox, and to these links.
    Show(Whereabouts),
    Provide,
    /// Not before this date: its user is not to be disturbed.
    Hold(Wall),
    /// Not before this date: its service said so.
    Schedule(Wall),
    Drop(Reason),
    Expire,
}

pub fn route(to: &Recipient, channel: Channel, presence: &Presence, now: Mono) -> Step {
    match (channel, to) {
        (Channel::Inapp, Recipient::User(user)) => Step::Show(presence.whereabouts(user, now)),
        (Channel::Inapp, Recipient::Topic(topic)) => audience(presence, Some(topic), now),
        (Channel::Inapp, Recipient::All) => audience(presence, None, now),
        (_, Recipient::User(_)) => Step::Provide,
        (_, Recipient::Topic(_) | Recipient::All) => Step::Drop(Reason::Refused),
        (_, Recipient::Erased(_)) => Step::Drop(Reason::Erased),
    }
}

fn audience(presence: &Presence, topic: Option<&str>, now: Mono) -> Step {
    Step::Show(Whereabouts { links: presence.audience(topic, now), certain: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::{LinkId, START_GRACE};

    #[test]
    fn each_channel_has_one_way() {
        let mut presence = Presence::new(1, [0].into(), Mono::ZERO);
        presence.link_up(LinkId(1), Mono::ZERO);
        presence.announce(LinkId(1), "u");
        presence.subscribe(LinkId(1), "t");
        let now = Mono::ZERO + START_GRACE;
        let user = Recipient::User("u".to_owned());
        let topic = Recipient::Topic("t".to_owned());
        let show = |links: Vec<LinkId>| Step::Show(Whereabouts { links, certain: true });
        assert_eq!(route(&user, Channel::Inapp, &presence, now), show(vec![LinkId(1)]));
        assert_eq!(route(&Recipient::User("x".into()), Channel::Inapp, &presence, now), show(vec![]));
        assert_eq!(route(&topic, Channel::Inapp, &presence, now), show(vec![LinkId(1)]));
        assert_eq!(route(&Recipient::All, Channel::Inapp, &presence, now), show(vec![LinkId(1)]));
        for channel in [Channel::Push, Channel::Email, Channel::Sms, Channel::Voice] {
            assert_eq!(route(&user, channel, &presence, now), Step::Provide);
            assert_eq!(route(&topic, channel, &presence, now), Step::Drop(Reason::Refused));
        }
    }
}
