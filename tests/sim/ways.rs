//! The ways out: providers as they answer, and what they may be asked. I2: one first call a delivery, none behind an
//! outcome. I3: for those who are meant. I4: twenty pushes in any hour of a user, and none held back without need.

use std::collections::BTreeMap;
use std::time::Duration;

use router::owner::{Answered, DeliveryKey, Held, Outcome, ProviderCall, Said};
use router::provider::letter::{Address, Answer, Class, Refusal};
use router::record::Channel;
use uuid::Uuid;
use wire::message::Priority;

use crate::events::{Event, Events, HOUR, MS, S};
use crate::model::Model;

pub(crate) const PUSHES_PER_HOUR: u32 = 20;
pub(crate) const TRIES_MAX: u32 = 4;

/// What went out of one delivery.
#[derive(Debug, Clone, Default)]
struct Provided {
    /// Calls that were not marked as a repetition: the first tries, and all.
    first: u32,
    tries: u32,
    /// The outcome that the owner has committed.
    settled: Option<&'static str>,
    /// The last call was not made, so that the next one is the same try.
    held: bool,
}

/// A push that was let through: when, by a clock that is never behind the owner's, and when, by one that is never ahead.
#[derive(Debug, Clone)]
struct Push {
    delivery: DeliveryKey,
    ahead_us: u64,
    behind_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ways {
    provided: BTreeMap<DeliveryKey, Provided>,
    pushes: BTreeMap<String, Vec<Push>>,
    /// What a power cut would undo: what it was before, newest last.
    undo: Vec<(DeliveryKey, Option<Provided>)>,
    /// How many pushes an hour was too full for.
    pub(crate) held_back: u32,
}

impl Ways {
    /// Asked by the owner, behind its commit.
    pub(crate) fn ask(&mut self, call: &ProviderCall, model: &Model, events: &mut Events) {
        let delivery = &call.delivery;
        let is_meant = model
            .promise(delivery.id)
            .is_some_and(|promise| promise.has(delivery.channel) && Model::is_for(promise, &delivery.user));
        if !is_meant {
            events.broken("I3", format!("{delivery} goes to somebody who is not meant"));
        }
        if delivery.channel == Channel::Push {
            self.count_push(call, model, events);
        }
        let before = self.provided.get(delivery).cloned();
        let mut provided = before.clone().unwrap_or_default();
        self.undo.push((delivery.clone(), before));
        if let Some(outcome) = provided.settled {
            events.broken("I2", format!("{delivery} is sent behind its outcome {outcome}"));
        }
        let is_try = !call.again && !std::mem::take(&mut provided.held);
        provided.first += u32::from(is_try && call.attempt == 1);
        provided.tries += u32::from(is_try);
        if provided.first > 1 || provided.tries > TRIES_MAX {
            events.broken("I2", format!("{delivery} is sent again: {provided:?}"));
        }
        self.provided.insert(delivery.clone(), provided);
    }

    fn count_push(&mut self, call: &ProviderCall, model: &Model, events: &mut Events) {
        let (ahead_us, behind_us) = (events.now_us() + model.ahead_us, events.now_us());
        let delivery = &call.delivery;
        let pushes = self.pushes.entry(delivery.user.clone()).or_default();
        if pushes.iter().any(|push| push.delivery == *delivery) {
            return;
        }
        let in_hour = pushes.iter().filter(|push| push.ahead_us + HOUR > ahead_us).count();
        if call.priority != Priority::Critical && in_hour >= PUSHES_PER_HOUR as usize {
            events.broken("I4", format!("{delivery} is push {} of this hour", in_hour + 1));
        }
        pushes.push(Push { delivery: delivery.clone(), ahead_us, behind_us });
    }

    /// The hour is said to be full.
    pub(crate) fn hold_back(&mut self, user: &str, id: Uuid, model: &Model, events: &mut Events) {
        self.held_back += 1;
        let pushes = self.pushes.get(user).map_or(&[][..], Vec::as_slice);
        let hour_us = HOUR + model.behind_us;
        let in_hour = pushes.iter().filter(|push| push.behind_us + hour_us > events.now_us()).count();
        if in_hour < PUSHES_PER_HOUR as usize {
            events.broken("I4", format!("{id} for {user} was held back behind {in_hour} pushes"));
        }
    }

    /// An answer is on its way to the owner.
    pub(crate) fn answered(&mut self, delivery: &DeliveryKey, outcome: &Outcome) {
        let Outcome::Letters(letters) = outcome else { return };
        let is_held = letters.iter().all(|one| matches!(one.said, Said::Held { .. }));
        self.provided.entry(delivery.clone()).or_default().held |= is_held;
    }

    /// The owner has committed an outcome.
    pub(crate) fn settled(&mut self, delivery: &DeliveryKey, outcome: &Outcome) {
        let settled = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::HandedOver => "handed over",
            Outcome::Unknown => "unknown",
            Outcome::Drop { .. } | Outcome::Withdrawn => "dropped",
            Outcome::Letters(letters) if letters.iter().all(is_settled) => "settled",
            Outcome::Retry { .. } | Outcome::Letters(_) => return,
        };
        let before = self.provided.get(delivery).cloned();
        self.provided.entry(delivery.clone()).or_default().settled = Some(settled);
        self.undo.push((delivery.clone(), before));
    }

    /// What the owner wrote is on the disk.
    pub(crate) fn persisted(&mut self) {
        self.undo.clear();
    }

    /// What was not on the disk never was: it is decided again, and may go out again.
    pub(crate) fn power_cut(&mut self) {
        while let Some((delivery, before)) = self.undo.pop() {
            if let Some(before) = before {
                self.provided.insert(delivery, before);
                continue;
            }
            self.provided.remove(&delivery);
            if let Some(pushes) = self.pushes.get_mut(&delivery.user) {
                pushes.retain(|push| push.delivery != delivery);
            }
        }
    }
}

/// Nothing more goes to this address.
fn is_settled(one: &Answered) -> bool {
    match &one.said {
        Said::Answer(Answer::Refused(refusal)) => refusal.class != Class::Quota,
        Said::Answer(_) | Said::Withdrawn => true,
        Said::Held { .. } => false,
    }
}

/// What the provider will say, and when.
pub(crate) fn answer(run: u64, call: &ProviderCall, events: &mut Events) {
    let delivery = call.delivery.clone();
    let letters = call.addresses.iter().map(|to| Answered { to: to.clone(), said: said(to, events) });
    let letters: Vec<Answered> = letters.collect();
    let outcome = if letters.is_empty() { by_the_outbox(events) } else { Outcome::Letters(letters) };
    let slow = events.one_in(10);
    events.within(MS, if slow { 5 * S } else { 400 * MS }, Event::ProviderAnswers { run, delivery, outcome });
}

/// An account of one address: what it says, or that it is not asked.
fn said(to: &Address, events: &mut Events) -> Said {
    let after = Duration::from_millis(events.between(100, 3_000));
    let no = |class| {
        let (code, detail) = ("NO".to_owned(), String::new());
        Said::Answer(Answer::Refused(Refusal { class, code, detail, retry_after: Some(after) }))
    };
    match events.between(0, 11) {
        0 => Said::Held { after, why: Held::Broken },
        1 => Said::Held { after, why: Held::Full },
        2 | 3 => no(Class::Quota),
        4 => Said::Answer(Answer::Unknown { why: "no answer".to_owned() }),
        5 => no(Class::Recipient),
        // A device that is gone would be missed: the hour of pushes is counted by what goes out.
        6 if matches!(to, Address::Phone(_)) && events.one_in(4) => no(Class::Gone),
        6 => no(Class::Content),
        _ => Said::Answer(Answer::Taken { reference: None }),
    }
}

fn by_the_outbox(events: &mut Events) -> Outcome {
    match events.between(0, 11) {
        0 => Outcome::Delivered,
        1 | 2 => Outcome::Retry { after: Duration::from_millis(events.between(100, 4_000)) },
        3 | 4 => Outcome::Unknown,
        5 => Outcome::Drop { reason: "no such number".to_owned() },
        _ => Outcome::HandedOver,
    }
}
