//! One row of the ledger: a notification for one recipient, by all its channels.
//!
//! Persistent, binary, with a version byte. Owns its own encoding and the bound of the timelines. The channels' states
//! move through [`LedgerRow::apply`], which moves the counters with them.

use bytes::Bytes;
use wire::time::Wall;

use super::counters::Counters;
use super::state::{Event, Reason, State};
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::{Space, StoreError};

const VERSION: u8 = 1;
/// Of a row that waits for its moment. Behind it the row is of the first version again, but stays unreadable for a build that does not
/// know of moments: its timeline holds [`What::Scheduled`].
const SCHEDULED_VERSION: u8 = 2;
/// What a timeline keeps: the first ones and the last one; those between are counted.
pub const MOMENTS_MAX: usize = 24;
/// Bytes of a moment's detail, and of a state's reason.
pub const DETAIL_BYTES_MAX: usize = 256;

/// What can stand in a timeline. Persistent by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    Accepted,
    /// It is in the inbox.
    Inbox,
    /// Queued for sockets.
    Sent,
    /// A shard had no socket for it.
    NoSocket,
    /// Every socket was too slow.
    Slow,
    Provided,
    /// After a restart: the same try may have gone out before.
    ProvidedAgain,
    Retry,
    Acknowledged,
    Read,
    Delivered,
    HandedOver,
    FellBack,
    Expired,
    Dropped,
    DeadLettered,
    Unknown,
    Replayed,
    /// An answer that came too late to change anything.
    TooLate,
    /// What a provider said of one address.
    Answered,
    /// What a provider told later of what it had taken.
    Receipt,
    /// It waits until its user may be disturbed, or wants it.
    Held,
    /// It goes out in one letter with others.
    Digest,
    /// It waits for the moment that its service named.
    Scheduled,
}

impl What {
    const ALL: [What; 24] = [
        What::Accepted,
        What::Inbox,
        What::Sent,
        What::NoSocket,
        What::Slow,
        What::Provided,
        What::ProvidedAgain,
        What::Retry,
        What::Acknowledged,
        What::Read,
        What::Delivered,
        What::HandedOver,
        What::FellBack,
        What::Expired,
        What::Dropped,
        What::DeadLettered,
        What::Unknown,
        What::Replayed,
        What::TooLate,
        What::Answered,
        What::Receipt,
        What::Held,
        What::Digest,
        What::Scheduled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            What::Accepted => "accepted",
            What::Inbox => "inbox",
            What::Sent => "sent",
            What::NoSocket => "no_socket",
            What::Slow => "slow",
            What::Provided => "provided",
            What::ProvidedAgain => "provided_again",
            What::Retry => "retry",
            What::Acknowledged => "acknowledged",
            What::Read => "read",
            What::Delivered => "delivered",
            What::HandedOver => "handed_over",
            What::FellBack => "fell_back",
            What::Expired => "expired",
            What::Dropped => "dropped",
            What::DeadLettered => "dead_lettered",
            What::Unknown => "unknown",
            What::Replayed => "replayed",
            What::TooLate => "too_late",
            What::Answered => "answered",
            What::Receipt => "receipt",
            What::Held => "held",
            What::Digest => "digest",
            What::Scheduled => "scheduled",
        }
    }
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub at: Wall,
    pub what: What,
    pub detail: String,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub channel: Channel,
    pub state: State,
    /// Calls of a provider.
    pub attempts: u32,
    pub timeline: Vec<Moment>,
    /// Moments that were left out before the last one.
    pub left_out: u32,
}

impl Delivery {
    pub fn new(channel: Channel) -> Delivery {
        Delivery {
            channel,
            state: State::Open { due_at: None },
            attempts: 0,
            timeline: Vec::with_capacity(3),
            left_out: 0,
        }
    }

    pub fn note(&mut self, at: Wall, what: What, detail: impl Into<String>) {
        let mut detail: String = detail.into();
        cut(&mut detail);
        let moment = Moment { at, what, detail };
        if self.timeline.len() < MOMENTS_MAX {
            self.timeline.push(moment);
        } else {
            self.left_out += 1;
            self.timeline[MOMENTS_MAX - 1] = moment;
        }
    }
}

/// Cuts a text to [`DETAIL_BYTES_MAX`], between two characters.
pub fn cut(text: &mut String) {
    if text.len() > DETAIL_BYTES_MAX {
        let end = (0..=DETAIL_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// The channels that are tried in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Index of the next one in the request's `fallback`.
    pub next: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerRow {
    /// Its stamp in the inbox, if it is or was there.
    pub created_at: Option<Wall>,
    /// On the owner's steady clock.
    pub expires_at: Option<Wall>,
    /// When the acknowledgement is overdue, or what is scheduled is looked at, on the same clock.
    pub deadline: Option<Wall>,
    /// Nothing of it has begun: it waits for the moment that its service named.
    pub scheduled: bool,
    pub ladder: Option<Ladder>,
    /// Whether it lies in the inbox now.
    pub in_inbox: bool,
    /// Sockets that it was queued for.
    pub sockets: u32,
    /// Users who acknowledged it: 0 or 1, more for a topic.
    pub acknowledgements: u32,
    pub deliveries: Vec<Delivery>,
}

impl LedgerRow {
    pub fn delivery(&self, channel: Channel) -> Option<&Delivery> {
        self.deliveries.iter().find(|delivery| delivery.channel == channel)
    }

    pub fn delivery_mut(&mut self, channel: Channel) -> Option<&mut Delivery> {
        self.deliveries.iter_mut().find(|delivery| delivery.channel == channel)
    }

    /// A new delivery, open.
    pub fn accept(&mut self, channel: Channel, at: Wall, counters: &mut Counters) -> &mut Delivery {
        counters.accept(channel);
        let mut delivery = Delivery::new(channel);
        delivery.note(at, What::Accepted, "");
        self.deliveries.push(delivery);
        self.deliveries.last_mut().expect("one was pushed")
    }

    /// Moves one channel, and the counters with it. False: the event came too late.
    pub fn apply(&mut self, channel: Channel, event: &Event, at: Wall, counters: &mut Counters) -> bool {
        let Some(delivery) = self.delivery_mut(channel) else { return false };
        let Some(mut next) = delivery.state.after(event) else { return false };
        if let State::DeadLettered(why) | State::Dropped(Reason::Provider(why)) = &mut next {
            cut(why);
        }
        counters.move_on(channel, &delivery.state, &next);
        let (what, detail) = match &next {
            State::Open { .. } if *event == Event::Replay => (Some(What::Replayed), String::new()),
            State::Open { .. } => (None, String::new()),
            State::Delivered => (Some(What::Delivered), String::new()),
            State::HandedOver => (Some(What::HandedOver), String::new()),
            State::FellBack => (Some(What::FellBack), String::new()),
            State::Expired => (Some(What::Expired), String::new()),
            State::Dropped(reason) => (Some(What::Dropped), reason.to_string()),
            State::DeadLettered(why) => (Some(What::DeadLettered), why.clone()),
            State::Unknown => (Some(What::Unknown), String::new()),
        };
        delivery.state = next;
        if let Some(what) = what {
            delivery.note(at, what, detail);
        }
        true
    }

    /// Whether nothing is left to try: every channel has ended without anybody having got it.
    pub fn all_failed(&self) -> bool {
        self.deliveries.iter().all(|delivery| {
            matches!(
                delivery.state,
                State::Dropped(_) | State::DeadLettered(_) | State::Expired | State::FellBack
            )
        })
    }

    /// How each channel ended, as the equation counts it, and nothing else that was known.
    pub fn bare(self) -> LedgerRow {
        let bare = |Delivery { channel, state, .. }| {
            let state = match state {
                State::Dropped(Reason::Provider(_)) => State::Dropped(Reason::Provider(String::new())),
                State::DeadLettered(_) => State::DeadLettered(String::new()),
                ended => ended,
            };
            Delivery { state, ..Delivery::new(channel) }
        };
        LedgerRow { deliveries: self.deliveries.into_iter().map(bare).collect(), ..LedgerRow::default() }
    }

    pub fn encode(&self) -> Bytes {
        let mut row = Encoder::new(if self.scheduled { SCHEDULED_VERSION } else { VERSION });
        row.optional_wall(self.created_at).optional_wall(self.expires_at).optional_wall(self.deadline);
        row.u8(self.ladder.map_or(u8::MAX, |ladder| ladder.next));
        row.u8(u8::from(self.in_inbox)).u32(self.sockets).u32(self.acknowledgements);
        row.u32(self.deliveries.len() as u32);
        for delivery in &self.deliveries {
            row.u8(delivery.channel as u8);
            encode_state(&mut row, &delivery.state);
            row.u32(delivery.attempts).u32(delivery.left_out).u32(delivery.timeline.len() as u32);
            for moment in &delivery.timeline {
                row.wall(moment.at).u8(moment.what as u8).text(&moment.detail);
            }
        }
        row.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<LedgerRow, StoreError> {
        let scheduled = bytes.first() == Some(&SCHEDULED_VERSION);
        let version = if scheduled { SCHEDULED_VERSION } else { VERSION };
        let mut row = Decoder::new(Space::Ledger, bytes, version)?;
        let (created_at, expires_at, deadline) =
            (row.optional_wall()?, row.optional_wall()?, row.optional_wall()?);
        let next = row.u8()?;
        let ladder = (next != u8::MAX).then_some(Ladder { next });
        let in_inbox = row.u8()? != 0;
        let (sockets, acknowledgements) = (row.u32()?, row.u32()?);
        let count = row.count(14)?;
        let deliveries = (0..count).map(|_| decode_delivery(&mut row)).collect::<Result<_, _>>()?;
        Ok(LedgerRow {
            created_at,
            expires_at,
            deadline,
            scheduled,
            ladder,
            in_inbox,
            sockets,
            acknowledgements,
            deliveries,
        })
    }
}

fn decode_delivery(row: &mut Decoder) -> Result<Delivery, StoreError> {
    let channel = row.u8()?;
    let channel = *Channel::ALL.get(usize::from(channel)).ok_or_else(|| row.damaged("an unknown channel"))?;
    let state = decode_state(row)?;
    let (attempts, left_out) = (row.u32()?, row.u32()?);
    let count = row.count(13)?;
    let timeline = (0..count).map(|_| decode_moment(row)).collect::<Result<_, _>>()?;
    Ok(Delivery { channel, state, attempts, timeline, left_out })
}

fn decode_moment(row: &mut Decoder) -> Result<Moment, StoreError> {
    let at = row.wall()?;
    let what = row.u8()?;
    let what = *What::ALL.get(usize::from(what)).ok_or_else(|| row.damaged("an unknown moment"))?;
    Ok(Moment { at, what, detail: row.text()? })
}

fn encode_state(row: &mut Encoder, state: &State) {
    row.u8(state.kind() as u8);
    match state {
        State::Open { due_at } => {
            row.optional_wall(*due_at);
        }
        State::Dropped(reason) => {
            let why = if let Reason::Provider(why) = reason { why } else { "" };
            row.u8(reason.index() as u8).text(why);
        }
        State::DeadLettered(why) => {
            row.text(why);
        }
        _ => {}
    }
}

fn decode_state(row: &mut Decoder) -> Result<State, StoreError> {
    Ok(match row.u8()? {
        0 => State::Open { due_at: row.optional_wall()? },
        1 => State::Delivered,
        2 => State::HandedOver,
        3 => State::FellBack,
        4 => State::Expired,
        5 => {
            let (index, why) = (row.u8()?, row.text()?);
            State::Dropped(match index {
                0 => Reason::Collapsed,
                1 => Reason::Cancelled,
                2 => Reason::PushLimit,
                3 => Reason::Shed,
                4 => Reason::Refused,
                5 => Reason::Provider(why),
                6 => Reason::Erased,
                7 => Reason::NoAddress,
                8 => Reason::Suppressed,
                9 => Reason::Unsubscribed,
                10 => Reason::Acknowledged,
                11 => Reason::NoAccount,
                _ => return Err(row.damaged("an unknown reason")),
            })
        }
        6 => State::DeadLettered(row.text()?),
        7 => State::Unknown,
        _ => return Err(row.damaged("an unknown state")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_as_it_was_written() {
        let reasons = [
            Reason::Collapsed,
            Reason::Cancelled,
            Reason::PushLimit,
            Reason::Shed,
            Reason::Refused,
            Reason::Provider("no such number".into()),
            Reason::Erased,
            Reason::NoAddress,
            Reason::Suppressed,
            Reason::Unsubscribed,
            Reason::Acknowledged,
            Reason::NoAccount,
        ];
        let mut states: Vec<State> = reasons.into_iter().map(State::Dropped).collect();
        states.extend([
            State::Open { due_at: None },
            State::Open { due_at: Some(Wall(-4)) },
            State::Delivered,
            State::HandedOver,
            State::FellBack,
            State::Expired,
            State::DeadLettered("gave up".into()),
            State::Unknown,
        ]);
        let mut row = LedgerRow {
            created_at: Some(Wall(1)),
            deadline: Some(Wall(3)),
            ladder: Some(Ladder { next: 2 }),
            in_inbox: true,
            sockets: 4,
            acknowledgements: 5,
            ..LedgerRow::default()
        };
        for (i, state) in states.into_iter().enumerate() {
            let mut delivery = Delivery::new(Channel::ALL[i % Channel::ALL.len()]);
            for what in What::ALL {
                delivery.note(Wall(i as i64), what, what.name());
            }
            row.deliveries.push(Delivery { state, attempts: i as u32, ..delivery });
        }
        let scheduled = LedgerRow { scheduled: true, ..row.clone() };
        assert_eq!(LedgerRow::decode(scheduled.encode()), Ok(scheduled));
        let bytes = row.encode();
        assert_eq!(LedgerRow::decode(bytes.clone()), Ok(row));
        for length in 0..bytes.len() {
            assert!(LedgerRow::decode(bytes.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_timeline_keeps_its_beginning_and_its_end() {
        let mut delivery = Delivery::new(Channel::Sms);
        (0..100).for_each(|i| delivery.note(Wall(i), What::Retry, "é".repeat(400)));
        assert_eq!((delivery.timeline.len(), delivery.left_out), (MOMENTS_MAX, 100 - MOMENTS_MAX as u32));
        assert_eq!((delivery.timeline[0].at, delivery.timeline[MOMENTS_MAX - 1].at), (Wall(0), Wall(99)));
        assert!(delivery.timeline.iter().all(|moment| moment.detail.len() <= DETAIL_BYTES_MAX));
    }

    #[test]
    fn numbers_of_moments_never_change() {
        for (i, what) in What::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, i);
        }
    }
}
