//! The ways out of the system: by which kind of account a letter leaves. Pure.

use super::letter::Address;
use crate::record::Channel;

/// A channel, or for pushes whose devices they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    Fcm,
    Apns,
    WebPush,
    Email,
    Sms,
    Voice,
}

impl Way {
    pub const ALL: [Way; 6] = [Way::Fcm, Way::Apns, Way::WebPush, Way::Email, Way::Sms, Way::Voice];

    /// By which way this channel reaches this address.
    pub fn to(address: &Address, channel: Channel) -> Way {
        match address {
            Address::Fcm(_) => Way::Fcm,
            Address::Apns { .. } => Way::Apns,
            Address::WebPush { .. } => Way::WebPush,
            Address::Email(_) => Way::Email,
            Address::Phone(_) if channel == Channel::Voice => Way::Voice,
            Address::Phone(_) => Way::Sms,
        }
    }

    pub fn channel(self) -> Channel {
        match self {
            Way::Fcm | Way::Apns | Way::WebPush => Channel::Push,
            Way::Email => Channel::Email,
            Way::Sms => Channel::Sms,
            Way::Voice => Channel::Voice,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Fcm => "fcm",
            Way::Apns => "apns",
            Way::WebPush => "webpush",
            Way::Email => "email",
            Way::Sms => "sms",
            Way::Voice => "voice",
        }
    }
}

/// The ways for which there is an account, and what becomes of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ways {
    has: [bool; Way::ALL.len()],
    /// By channel: whether the outbox does not keep it either.
    drops: [bool; Channel::ALL.len()],
}

impl Ways {
    pub fn of(ways: impl IntoIterator<Item = Way>) -> Ways {
        let mut known = Ways::default();
        ways.into_iter().for_each(|way| known.has[way as usize] = true);
        known
    }

    /// The same, and the outbox does not keep what is for these channels.
    #[must_use]
    pub fn dropping(mut self, channels: &[Channel]) -> Ways {
        for channel in channels {
            self.drops[*channel as usize] = true;
        }
        self
    }

    pub fn has(self, way: Way) -> bool {
        self.has[way as usize]
    }

    /// Whether there is an account at all.
    pub fn any(self) -> bool {
        self.has.contains(&true)
    }

    /// Whether this channel's deliveries go nowhere: no account carries them, and the outbox does not keep them.
    pub fn drop(self, channel: Channel) -> bool {
        self.drops[channel as usize] && !self.carry(channel)
    }

    /// Whether this channel's deliveries go to people's addresses. Those of the others are kept in the outbox, or dropped.
    pub fn carry(self, channel: Channel) -> bool {
        Way::ALL.into_iter().any(|way| way.channel() == channel && self.has(way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_carries_its_channel_and_no_other() {
        let ways = Ways::of([Way::Apns, Way::Sms]);
        let carried: Vec<_> = Channel::ALL.into_iter().filter(|channel| ways.carry(*channel)).collect();
        assert_eq!(carried, [Channel::Push, Channel::Sms]);
        assert!(ways.has(Way::Apns) && !ways.has(Way::Fcm) && !Ways::default().carry(Channel::Push));
    }

    #[test]
    fn what_an_account_carries_is_never_dropped() {
        let ways = Ways::of([Way::Sms]).dropping(&[Channel::Sms, Channel::Push]);
        let dropped: Vec<_> = Channel::ALL.into_iter().filter(|channel| ways.drop(*channel)).collect();
        assert_eq!(dropped, [Channel::Push]);
        assert!(ways.any() && !Ways::default().dropping(&[Channel::Push]).any());
    }

    #[test]
    fn a_phone_is_written_to_and_called_by_different_ways() {
        let phone = Address::Phone("+4930123456".to_owned());
        assert_eq!((Way::to(&phone, Channel::Sms), Way::to(&phone, Channel::Voice)), (Way::Sms, Way::Voice));
        assert!(Way::ALL.iter().enumerate().all(|(i, way)| *way as usize == i));
    }
}
