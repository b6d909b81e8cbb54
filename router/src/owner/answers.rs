//! What providers said of the letters of one call, and what follows for the delivery.
//!
//! Owns the sum: a push to several devices is handed over as soon as one of them can have it; the others are tried on by
//! themselves, until the push is over. What a single answer means stands in `provider::policy`. Called by `outcomes`.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use wire::time::Wall;

use super::clock::Tick;
use super::desk::{Desk, Due};
use super::letters::{Fate, Progress};
use super::outcomes::Dice;
use super::words::{Answered, DeliveryKey, Held, Said};
use super::{intake, people};
use crate::classify::Recipient;
use crate::ledger::{Event, LedgerRow, Reason, State, What};
use crate::provider::letter::{Address, Answer, Refusal};
use crate::provider::policy::{self, policy};
use crate::record::Channel;
use crate::store::{Store, StoreError};

/// How long a push is tried: later it would only be a surprise.
const PUSH_TRIED_FOR: Duration = Duration::from_secs(60 * 60);
/// The same of everything else that has no life of its own.
const TRIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// What was not asked waits so long at least.
const HELD_MIN: Duration = Duration::from_secs(1);
/// Those that were held back come again over so long at most, not at one moment.
const HELD_SPREAD_MAX: Duration = Duration::from_secs(10);

/// What is known after all letters of a call were answered.
#[derive(Debug, Default)]
struct Sum {
    /// When those that are open are tried again.
    again: Option<Duration>,
    /// A provider was asked, and what it said counts as a try.
    is_try: bool,
    /// A provider was not asked because it is thought to be broken.
    is_broken: bool,
    /// The last no.
    code: String,
    gone: Vec<Address>,
    /// A provider was asked.
    is_asked: bool,
    is_withdrawn: bool,
}

impl Sum {
    /// All wait for the one that has to wait longest: nobody is asked before it may be.
    fn later(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |again| again.max(after)));
    }
}

/// False: it came too late to change anything.
pub(super) fn take<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    (to, call, known): (&Recipient, &[u8], Option<Progress>),
    delivery: &DeliveryKey,
    (answered, dice): (&[Answered], Option<&Dice>),
    now: Tick,
) -> Result<bool, StoreError> {
    let channel = delivery.channel;
    let mut progress = known.unwrap_or_default();
    // Somebody has it, and these are the others.
    let was_tried_on = progress.any(Fate::Taken);
    let tries = row.delivery(channel).map_or(0, |delivery| delivery.attempts);
    let (thrown_for, tries) = dice.map_or((call, tries), |dice| (&dice.call, dice.tries));
    let mut chance = chance(desk.seed, thrown_for, tries);
    let mut sum = Sum::default();
    for one in answered {
        note(row, channel, one, now.wall);
        add(&mut sum, &mut progress, one, tries, &mut chance);
    }
    if !sum.is_try
        && let Some(delivery) = row.delivery_mut(channel)
    {
        delivery.attempts = delivery.attempts.saturating_sub(1);
    }
    people::give_up(desk, &delivery.user, channel, &sum.gone, now)?;
    if sum.is_broken && row.ladder.is_some() && progress.stopped.is_none() && !progress.any(Fate::Taken) {
        // There is another way: nobody waits for this one to be mended.
        return Ok(row.apply(channel, &Event::FallBack, now.wall, &mut desk.counters));
    }
    if sum.is_asked || sum.is_broken {
        progress.tried_since.get_or_insert(now.steady);
    }
    // It was taken back meanwhile, or the user has acted on it: nothing is tried for that.
    let is_over = row.acknowledgements > 0 || progress.stopped.is_some();
    sum.is_withdrawn |= is_over && sum.again.is_some();
    if let Some(after) = sum.again.filter(|_| !sum.is_withdrawn) {
        match end_of_trying(desk, row, delivery, (&sum, &progress), after, now) {
            None => return Ok(try_on(desk, row, (channel, call), progress, after, now) || was_tried_on),
            Some(end) if !progress.any(Fate::Taken) && !progress.any(Fate::Unknown) => {
                return Ok(give_up(desk, row, (delivery, to), end, &sum.code, now));
            }
            Some(_) => {}
        }
    }
    let event = if progress.any(Fate::Taken) {
        Event::Taken
    } else if progress.any(Fate::Unknown) {
        Event::Doubt
    } else if sum.is_withdrawn {
        Event::Drop(progress.stopped.take().unwrap_or(Reason::Acknowledged))
    } else {
        Event::Drop(Reason::Provider(sum.code))
    };
    Ok(row.apply(channel, &event, now.wall, &mut desk.counters) || was_tried_on)
}

/// The same wait for the same try of the same delivery, whoever is asked.
fn chance(seed: u64, call: &[u8], tries: u32) -> SmallRng {
    let mixed = call.iter().fold(seed ^ u64::from(tries), |sum, byte| {
        (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    SmallRng::seed_from_u64(mixed)
}

fn add(sum: &mut Sum, progress: &mut Progress, one: &Answered, tries: u32, chance: &mut SmallRng) {
    let Answered { to, said } = one;
    sum.is_asked |= matches!(said, Said::Answer(_));
    match said {
        Said::Held { after, why } => {
            sum.is_broken |= *why == Held::Broken;
            // Never at once: a lane that says so would be asked without end.
            let after = (*after).max(HELD_MIN);
            let spread = (after / 4).min(HELD_SPREAD_MAX).as_millis() as u64;
            sum.later(after + Duration::from_millis(chance.random_range(0..=spread)));
            progress.settle(to, Fate::Open);
        }
        Said::Withdrawn => {
            sum.is_withdrawn = true;
            progress.settle(to, Fate::Failed);
        }
        Said::Answer(Answer::Taken { .. }) => {
            sum.is_try = true;
            progress.settle(to, Fate::Taken);
        }
        Said::Answer(Answer::Unknown { .. }) => {
            sum.is_try = true;
            progress.settle(to, Fate::Unknown);
        }
        Said::Answer(Answer::Refused(refusal)) => {
            let policy = policy(refusal.class);
            sum.is_try |= policy.is_try;
            sum.code.clone_from(&refusal.code);
            let again = policy::wait(refusal, tries, chance);
            progress.settle(to, if again.is_some() { Fate::Open } else { Fate::Failed });
            if let Some(after) = again {
                sum.later(after);
            }
            sum.gone.extend(policy.gives_up_address.then(|| to.clone()));
        }
    }
}

fn note(row: &mut LedgerRow, channel: Channel, one: &Answered, at: Wall) {
    let Some(delivery) = row.delivery_mut(channel) else { return };
    let to = one.to.masked();
    let detail = match &one.said {
        Said::Answer(Answer::Taken { reference: Some(reference) }) => format!("{to}: taken as {reference}"),
        Said::Answer(Answer::Taken { reference: None }) => format!("{to}: taken"),
        Said::Answer(Answer::Unknown { why }) => format!("{to}: may have it: {why}"),
        Said::Answer(Answer::Refused(Refusal { code, detail, .. })) if detail.is_empty() => {
            format!("{to}: {code}")
        }
        Said::Answer(Answer::Refused(Refusal { code, detail, .. })) => format!("{to}: {code}: {detail}"),
        Said::Held { why: Held::Broken, .. } => format!("{to}: not asked, its provider seems to be broken"),
        Said::Withdrawn => format!("{to}: taken back"),
        Said::Held { why: Held::Full, .. } => format!("{to}: not asked, too much waits for its provider"),
    };
    // One that is held back again and again does not push the rest of the story out.
    if delivery.timeline.iter().all(|moment| moment.detail != detail) {
        delivery.note(at, What::Answered, detail);
    }
}

/// Why there is no other try.
#[derive(Debug, Clone, Copy)]
enum End {
    Expired,
    Tries(u32),
    Age(Duration),
}

fn end_of_trying<S: Store>(
    desk: &Desk<S>,
    row: &LedgerRow,
    delivery: &DeliveryKey,
    (sum, progress): (&Sum, &Progress),
    after: Duration,
    now: Tick,
) -> Option<End> {
    let at = now.steady + after;
    if row.expires_at.is_some_and(|end| end <= at) {
        return Some(End::Expired);
    }
    let tries = row.delivery(delivery.channel).map_or(0, |delivery| delivery.attempts);
    if tries >= desk.config.provider_tries_max {
        return Some(End::Tries(tries));
    }
    let is_push = delivery.channel == Channel::Push;
    let patience = if is_push { PUSH_TRIED_FOR } else { TRIED_FOR };
    let has_end = row.expires_at.is_some() && !is_push;
    // Who only waited for room has not been tried.
    let tried_since = progress.tried_since.filter(|_| !has_end && (sum.is_asked || sum.is_broken))?;
    (tried_since + patience <= at).then_some(End::Age(patience))
}

/// What is open is tried again. False: the delivery has ended otherwise meanwhile, and so do its letters.
fn try_on<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    (channel, call): (Channel, &[u8]),
    mut progress: Progress,
    after: Duration,
    now: Tick,
) -> bool {
    let at = now.steady + after;
    let was_open = intake::is_open(row, channel);
    let event = if progress.any(Fate::Taken) { Event::Taken } else { Event::Wait(Some(at)) };
    if was_open {
        row.apply(channel, &event, now.wall, &mut desk.counters);
    }
    let Some(delivery) = row.delivery_mut(channel) else { return false };
    if !matches!(delivery.state, State::Open { .. } | State::HandedOver) {
        return false;
    }
    if was_open {
        delivery.note(now.wall, What::Retry, format!("after {} ms", after.as_millis()));
    }
    progress.retry_at = Some(at);
    progress.keep(desk, call);
    desk.schedule(at, Due::Retry, call);
    was_open
}

fn give_up<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    (delivery, to): (&DeliveryKey, &Recipient),
    end: End,
    code: &str,
    now: Tick,
) -> bool {
    let channel = delivery.channel;
    if !intake::is_open(row, channel) {
        return false;
    }
    let why = match end {
        End::Expired => return row.apply(channel, &Event::Expire, now.wall, &mut desk.counters),
        End::Tries(tries) => format!("{tries} tries"),
        End::Age(age) => format!("tried for {} minutes", age.as_secs() / 60),
    };
    let why = if code.is_empty() { why } else { format!("{why}, at last {code}") };
    intake::give_up(desk, row, delivery.id, to, channel, &why, now);
    true
}
