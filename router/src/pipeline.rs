//! The walk of a notification: classify → limit → route.
//!
//! Decides, for every recipient and channel, what is to be done; the [`Book`] (the owner's, on its store) knows who was
//! served before and does it. Never reads a clock, a store or a socket itself.

use crate::classify::{Classified, Recipient, Senseless, classify};
use crate::ledger::Reason;
use crate::limit::{self, Limits, Meter, Window};
use crate::owner::Tick;
use crate::preferences::{Preferences, Wish};
use crate::presence::Presence;
use crate::record::{Channel, Record};
use crate::route::{Step, route};

/// What the walk needs to know of the past, and where its decisions go.
pub trait Book {
    type Error;
    /// Who stands for the recipient, if that person was erased since it was accepted.
    fn erased(&mut self, record: &Record, to: &Recipient) -> Result<Option<Recipient>, Self::Error>;
    /// Whether the recipient has this notification already.
    fn is_known(&mut self, record: &Record, to: &Recipient) -> Result<bool, Self::Error>;
    /// What the recipient wants to be sent.
    fn preferences(&mut self, to: &Recipient) -> Result<Preferences, Self::Error>;
    /// Whether it was taken back before it came here.
    fn is_cancelled(&mut self, record: &Record) -> Result<bool, Self::Error>;
    /// The recipient's pushes of the last hour.
    fn window(&mut self, to: &Recipient) -> Result<Window, Self::Error>;
    /// Does what was decided.
    fn take(&mut self, record: &Record, to: &Recipient, plan: Plan) -> Result<(), Self::Error>;
}

/// What is decided for one recipient.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<(Channel, Step)>,
    /// It was taken back, or its recipient is gone: nothing is to happen by itself, either.
    pub cancelled: bool,
    pub window: Window,
}

/// What the walk decides by.
#[derive(Debug)]
pub struct Rules<'a> {
    pub presence: &'a Presence,
    pub meter: &'a mut Meter,
    pub limits: Limits,
}

/// Recipients of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    pub fresh: usize,
    /// They have it already: it was given again.
    pub known: usize,
}

/// Why a record went no further.
#[derive(Debug)]
pub enum Stop<E> {
    Senseless(Senseless),
    Book(E),
}

/// One record, all the way.
pub fn walk<B: Book>(
    record: &Record,
    book: &mut B,
    rules: &mut Rules<'_>,
    now: Tick,
) -> Result<Walked, Stop<B::Error>> {
    let asked = classify(record, now.wall).map_err(Stop::Senseless)?;
    let cancelled = book.is_cancelled(record).map_err(Stop::Book)?;
    let mut walked = Walked::default();
    for to in &asked.recipients {
        let erased = book.erased(record, to).map_err(Stop::Book)?;
        let dropped = match &erased {
            Some(_) => Some(Reason::Erased),
            None => cancelled.then_some(Reason::Cancelled),
        };
        let to = erased.as_ref().unwrap_or(to);
        if book.is_known(record, to).map_err(Stop::Book)? {
            walked.known += 1;
            continue;
        }
        let window = book.window(to).map_err(Stop::Book)?;
        let plan = if let Some(reason) = dropped {
            drop_all(&asked, &reason, window)
        } else {
            let preferences = book.preferences(to).map_err(Stop::Book)?;
            decide(record, &asked, to, (window, &preferences), rules, now)
        };
        book.take(record, to, plan).map_err(Stop::Book)?;
        walked.fresh += 1;
    }
    Ok(walked)
}

/// What is done about one recipient now: all of it waits if its moment is still to come.
pub fn decide(
    record: &Record,
    asked: &Classified,
    to: &Recipient,
    (mut window, preferences): (Window, &Preferences),
    rules: &mut Rules<'_>,
    now: Tick,
) -> Plan {
    let mut steps = Vec::with_capacity(asked.channels.len() + asked.refused.len());
    let scheduled = record.scheduled(now.wall);
    for channel in &asked.channels {
        let step = match scheduled {
            Some(at) => Step::Schedule(at),
            None if asked.expired => Step::Expire,
            None => step(record, to, *channel, (&mut window, preferences), rules, now),
        };
        steps.push((*channel, step));
    }
    steps.extend(asked.refused.iter().map(|channel| (*channel, Step::Drop(Reason::Refused))));
    Plan { steps, cancelled: false, window }
}

/// One channel, at once or when a fallback comes to it: wanted, within the limits, and by its way.
pub fn step(
    record: &Record,
    to: &Recipient,
    channel: Channel,
    (window, preferences): (&mut Window, &Preferences),
    rules: &mut Rules<'_>,
    now: Tick,
) -> Step {
    let request = &record.request;
    let wish = preferences.wish(request.category.as_deref(), channel, request.priority, now.wall, now.wall);
    if wish == Wish::Unwanted {
        return Step::Drop(Reason::Unsubscribed);
    }
    let limited = match wish {
        // It is a push of the hour in which it goes.
        Wish::Hold(_) => limit::pass(rules.meter, request.priority, now.mono),
        _ => limit::limit(channel, request.priority, window, rules.meter, rules.limits, now.steady, now.mono),
    };
    if let Err(reason) = limited {
        return Step::Drop(reason);
    }
    match (wish, route(to, channel, rules.presence, now.mono)) {
        (Wish::Hold(until), Step::Provide) => Step::Hold(until),
        (_, step) => step,
    }
}

/// No limit counts what goes nowhere.
fn drop_all(asked: &Classified, reason: &Reason, window: Window) -> Plan {
    let dropped = asked.channels.iter().map(|channel| (*channel, Step::Drop(reason.clone())));
    let refused = asked.refused.iter().map(|channel| (*channel, Step::Drop(Reason::Refused)));
    Plan { steps: dropped.chain(refused).collect(), cancelled: true, window }
}
