//! The states of a delivery and what moves it from one to the next.
//!
//! Open goes to any; what is final moves only forward, on better evidence (handed over → delivered), never back. The
//! one exception is an operator's replay.

use serde::Serialize;
use wire::time::Wall;

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// `due_at`: when something is done about it by itself.
    Open {
        due_at: Option<Wall>,
    },
    /// A receipt, an acknowledgement or a read.
    Delivered,
    /// The inbox holds it, or a provider took it.
    HandedOver,
    /// Nothing came in time, and the next channel was tried.
    FellBack,
    Expired,
    Dropped(Reason),
    DeadLettered(String),
    /// It may have gone out.
    Unknown,
}

/// Why a delivery was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A newer one with the same collapse key took its place.
    Collapsed,
    Cancelled,
    /// The user had as many pushes as may be in an hour.
    PushLimit,
    /// LOW, while far too much came in.
    Shed,
    /// The channel cannot reach such a recipient.
    Refused,
    /// The provider said so, in its words.
    Provider(String),
    /// The person was erased.
    Erased,
    /// The user cannot be reached by this channel.
    NoAddress,
    /// The address is not written to any more.
    Suppressed,
    /// The user does not want this.
    Unsubscribed,
    /// The user acted on it before it had gone out by this channel.
    Acknowledged,
    /// No account carries the channel, and the outbox does not keep it.
    NoAccount,
}

impl Reason {
    pub const NAMES: [&'static str; 12] = [
        "collapsed",
        "cancelled",
        "push_limit",
        "shed",
        "refused",
        "provider",
        "erased",
        "no_address",
        "suppressed",
        "unsubscribed",
        "acknowledged",
        "no_account",
    ];

    pub fn index(&self) -> usize {
        match self {
            Reason::Collapsed => 0,
            Reason::Cancelled => 1,
            Reason::PushLimit => 2,
            Reason::Shed => 3,
            Reason::Refused => 4,
            Reason::Provider(_) => 5,
            Reason::Erased => 6,
            Reason::NoAddress => 7,
            Reason::Suppressed => 8,
            Reason::Unsubscribed => 9,
            Reason::Acknowledged => 10,
            Reason::NoAccount => 11,
        }
    }

    /// Whether it can be sent all the same, when an operator asks for it.
    pub fn is_replayable(&self) -> bool {
        matches!(self, Reason::PushLimit | Reason::Shed)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Provider(why) => f.write_str(why),
            known => f.write_str(Reason::NAMES[known.index()]),
        }
    }
}

/// A state without what it carries, as the equation counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Open,
    Delivered,
    HandedOver,
    FellBack,
    Expired,
    Dropped,
    DeadLettered,
    Unknown,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Open,
        Kind::Delivered,
        Kind::HandedOver,
        Kind::FellBack,
        Kind::Expired,
        Kind::Dropped,
        Kind::DeadLettered,
        Kind::Unknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Delivered => "delivered",
            Kind::HandedOver => "handed_over",
            Kind::FellBack => "fell_back",
            Kind::Expired => "expired",
            Kind::Dropped => "dropped",
            Kind::DeadLettered => "dead_lettered",
            Kind::Unknown => "unknown",
        }
    }
}

/// Something that happened to a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Acknowledged, read, or a provider's receipt.
    Receipt,
    /// A provider took it, or the inbox is all that was wanted.
    Taken,
    /// Still open, with another time.
    Wait(Option<Wall>),
    FallBack,
    Expire,
    Drop(Reason),
    GiveUp(String),
    /// The provider's answer was ambiguous.
    Doubt,
    /// A provider had taken it and tells that it did not arrive.
    Fail(String),
    /// An operator wants it sent.
    Replay,
}

impl State {
    pub fn kind(&self) -> Kind {
        match self {
            State::Open { .. } => Kind::Open,
            State::Delivered => Kind::Delivered,
            State::HandedOver => Kind::HandedOver,
            State::FellBack => Kind::FellBack,
            State::Expired => Kind::Expired,
            State::Dropped(_) => Kind::Dropped,
            State::DeadLettered(_) => Kind::DeadLettered,
            State::Unknown => Kind::Unknown,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, State::Open { .. })
    }

    /// The state behind `event`; `None` when the event comes too late to change anything.
    pub fn after(&self, event: &Event) -> Option<State> {
        let next = match event {
            Event::Receipt => State::Delivered,
            Event::Taken => State::HandedOver,
            Event::Wait(due_at) => State::Open { due_at: *due_at },
            Event::FallBack => State::FellBack,
            Event::Expire => State::Expired,
            Event::Drop(reason) => State::Dropped(reason.clone()),
            Event::GiveUp(why) => State::DeadLettered(why.clone()),
            Event::Doubt => State::Unknown,
            Event::Fail(code) => State::Dropped(Reason::Provider(code.clone())),
            Event::Replay => State::Open { due_at: None },
        };
        let allowed = match self {
            // Given up for the next channel, or it failed, as was told; and then it arrived all the same.
            State::FellBack | State::Dropped(Reason::Provider(_)) => *event == Event::Receipt,
            State::Dropped(reason) => *event == Event::Replay && reason.is_replayable(),
            State::DeadLettered(_) => *event == Event::Replay,
            State::Open { .. } => *event != Event::Replay,
            // Better evidence than there was; or the inbox held it until it was over, replaced or taken back, and
            // nobody had acted on it.
            State::HandedOver => matches!(
                event,
                Event::Receipt
                    | Event::Fail(_)
                    | Event::Expire
                    | Event::Drop(Reason::Collapsed | Reason::Cancelled)
            ),
            State::Unknown => {
                matches!(
                    event,
                    Event::Receipt | Event::Taken | Event::Fail(_) | Event::Drop(Reason::Provider(_))
                )
            }
            State::Delivered | State::Expired => false,
        };
        allowed.then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<State> {
        vec![
            State::Open { due_at: None },
            State::Delivered,
            State::HandedOver,
            State::FellBack,
            State::Expired,
            State::Dropped(Reason::Collapsed),
            State::Dropped(Reason::PushLimit),
            State::Dropped(Reason::Provider(String::new())),
            State::DeadLettered(String::new()),
            State::Unknown,
        ]
    }

    fn events() -> Vec<(&'static str, Event)> {
        vec![
            ("receipt", Event::Receipt),
            ("taken", Event::Taken),
            ("wait", Event::Wait(Some(Wall(1)))),
            ("fall back", Event::FallBack),
            ("expire", Event::Expire),
            ("collapse", Event::Drop(Reason::Collapsed)),
            ("cancel", Event::Drop(Reason::Cancelled)),
            ("refuse", Event::Drop(Reason::Provider("no".into()))),
            ("give up", Event::GiveUp(String::new())),
            ("doubt", Event::Doubt),
            ("fail", Event::Fail("no".into())),
            ("replay", Event::Replay),
        ]
    }

    /// The whole table: every pair that is not named here changes nothing.
    #[test]
    fn final_states_move_only_as_the_table_says() {
        use Kind::{DeadLettered, Delivered, Dropped, Expired, FellBack, HandedOver, Open, Unknown};
        let table: &[(Kind, &str, Kind)] = &[
            (Open, "receipt", Delivered),
            (Open, "taken", HandedOver),
            (Open, "wait", Open),
            (Open, "fall back", FellBack),
            (Open, "expire", Expired),
            (Open, "collapse", Dropped),
            (Open, "cancel", Dropped),
            (Open, "refuse", Dropped),
            (Open, "give up", DeadLettered),
            (Open, "doubt", Unknown),
            (Open, "fail", Dropped),
            (HandedOver, "receipt", Delivered),
            (HandedOver, "fail", Dropped),
            (HandedOver, "expire", Expired),
            (HandedOver, "collapse", Dropped),
            (HandedOver, "cancel", Dropped),
            (FellBack, "receipt", Delivered),
            (Unknown, "receipt", Delivered),
            (Unknown, "taken", HandedOver),
            (Unknown, "fail", Dropped),
            (Unknown, "refuse", Dropped),
            (DeadLettered, "replay", Open),
        ];
        for state in states() {
            for (name, event) in events() {
                let mut expected = table
                    .iter()
                    .find(|(from, event, _)| (*from, *event) == (state.kind(), name))
                    .map(|(_, _, to)| *to);
                if (&state, name) == (&State::Dropped(Reason::PushLimit), "replay") {
                    expected = Some(Open);
                }
                if (&state, name) == (&State::Dropped(Reason::Provider(String::new())), "receipt") {
                    expected = Some(Delivered);
                }
                let found = state.after(&event).map(|next| next.kind());
                assert_eq!(found, expected, "{state:?} and {name}");
            }
        }
    }

    #[test]
    fn nothing_but_a_replay_opens_what_was_final() {
        for state in states().iter().filter(|state| !state.is_open()) {
            for (name, event) in events().iter().filter(|(name, _)| *name != "replay") {
                assert!(state.after(event).is_none_or(|next| !next.is_open()), "{state:?} {name}");
            }
        }
    }
}
