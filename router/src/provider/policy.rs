//! What follows from a provider's no, by whose fault it is: whether it is tried again and when, whether it counts against
//! the provider, and whether the address is given up. One table for all of it.
//!
//! Pure: chance is handed in. Read by the owner (tries, addresses) and by the breakers.

use std::time::Duration;

use rand::Rng;

use super::letter::{Answer, Class, Refusal};

/// The first wait after a fault; each later one may be twice as long.
pub const FAULT_BASE: Duration = Duration::from_secs(10);
/// The longest wait after a fault, unless the provider asks for more.
pub const FAULT_MAX: Duration = Duration::from_secs(15 * 60);
/// A provider that is too fast for itself and says no time.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// A day's quota is spent: some of it may be back after this.
const SPENT_WAIT: Duration = Duration::from_secs(60 * 60);
/// Our account is refused: people have to look at it first.
const AUTH_WAIT: Duration = Duration::from_secs(5 * 60);
/// The longest that a provider can make us wait.
const ASKED_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub again: Again,
    /// Counts as one of the tries after which a delivery is given up. What we are to blame for waits until its time is over.
    pub is_try: bool,
    /// Speaks for a broken provider.
    pub is_error: bool,
    pub gives_up_address: bool,
    /// Somebody has to be woken.
    pub wakes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    Never,
    /// Longer each time.
    BackOff,
    /// As long as the provider says, or else so long.
    After(Duration),
}

pub fn policy(class: Class) -> Policy {
    let never =
        Policy { again: Again::Never, is_try: true, is_error: false, gives_up_address: false, wakes: false };
    match class {
        Class::Gone => Policy { gives_up_address: true, ..never },
        Class::Recipient | Class::Content => never,
        Class::Auth => {
            Policy { again: Again::After(AUTH_WAIT), is_try: false, is_error: true, wakes: true, ..never }
        }
        Class::Later => Policy { again: Again::BackOff, ..never },
        Class::Quota => Policy { again: Again::After(QUOTA_WAIT), ..never },
        Class::Spent => Policy { again: Again::After(SPENT_WAIT), is_try: false, ..never },
        Class::Fault => Policy { again: Again::BackOff, is_error: true, ..never },
    }
}

/// Whether an answer speaks for a broken provider. One that does not come in time does.
pub fn is_error(answer: &Answer) -> bool {
    match answer {
        Answer::Taken { .. } => false,
        Answer::Refused(refusal) => policy(refusal.class).is_error,
        Answer::Unknown { .. } => true,
    }
}

/// How long to wait before the next try. `None`: there is none. `tries`: how often it was tried, from 1.
pub fn wait(refusal: &Refusal, tries: u32, chance: &mut impl Rng) -> Option<Duration> {
    let asked = refusal.retry_after.map(|after| after.min(ASKED_MAX));
    let own = match policy(refusal.class).again {
        Again::Never => return None,
        Again::BackOff => {
            let most = FAULT_BASE.saturating_mul(1 << tries.clamp(1, 16)).min(FAULT_MAX);
            return Some(between(FAULT_BASE, most, chance).max(asked.unwrap_or_default()));
        }
        Again::After(own) => asked.unwrap_or(own),
    };
    // Those that were told the same do not come back at one moment.
    Some(between(own, own + own / 4, chance))
}

fn between(low: Duration, high: Duration, chance: &mut impl Rng) -> Duration {
    Duration::from_millis(chance.random_range(low.as_millis() as u64..=high.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn refusal(class: Class, retry_after: Option<u64>) -> Refusal {
        let retry_after = retry_after.map(Duration::from_secs);
        Refusal { class, code: "X".to_owned(), detail: String::new(), retry_after }
    }

    #[test]
    fn the_whole_table() {
        // Class, tried again, counts as a try, against the provider, gives the address up, wakes somebody.
        let table = [
            (Class::Gone, false, true, false, true, false),
            (Class::Recipient, false, true, false, false, false),
            (Class::Content, false, true, false, false, false),
            (Class::Auth, true, false, true, false, true),
            (Class::Later, true, true, false, false, false),
            (Class::Quota, true, true, false, false, false),
            (Class::Spent, true, false, false, false, false),
            (Class::Fault, true, true, true, false, false),
        ];
        let mut chance = SmallRng::seed_from_u64(1);
        for (class, again, is_try, is_error, gives_up_address, wakes) in table {
            let found = policy(class);
            assert_eq!(wait(&refusal(class, None), 1, &mut chance).is_some(), again, "{class:?}");
            let rest = (found.is_try, found.is_error, found.gives_up_address, found.wakes);
            assert_eq!(rest, (is_try, is_error, gives_up_address, wakes), "{class:?}");
        }
    }

    #[test]
    fn faults_back_off_from_ten_seconds_and_spread_over_the_whole_span() {
        let mut chance = SmallRng::seed_from_u64(2);
        for (tries, most_s) in [(1, 20), (2, 40), (3, 80), (6, 640), (7, 900), (40, 900)] {
            let waits: Vec<u64> = (0..500)
                .map(|_| wait(&refusal(Class::Fault, None), tries, &mut chance).expect("again").as_secs())
                .collect();
            assert!(waits.iter().all(|wait| (10..=most_s).contains(wait)), "{tries}: {waits:?}");
            let middle = u64::midpoint(10, most_s);
            let late = waits.iter().filter(|wait| **wait >= middle).count();
            assert!((150..=350).contains(&late), "{tries}: {late} of 500 in the later half");
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_never_undercut_and_never_more_than_a_day() {
        let mut chance = SmallRng::seed_from_u64(3);
        for class in [Class::Fault, Class::Quota, Class::Auth, Class::Spent] {
            let mut wait_s =
                |asked| wait(&refusal(class, Some(asked)), 1, &mut chance).expect("again").as_secs();
            assert!((120..=150).contains(&wait_s(120)), "{class:?}");
            assert!(wait_s(10_000_000) <= 24 * 3_600 * 5 / 4, "{class:?}");
        }
        let quota = wait(&refusal(Class::Quota, None), 1, &mut chance).expect("again").as_secs();
        assert!((60..=75).contains(&quota), "{quota}");
    }

    #[test]
    fn silence_counts_against_a_provider_and_a_recipients_fault_does_not() {
        assert!(is_error(&Answer::Unknown { why: String::new() }));
        assert!(!is_error(&Answer::Taken { reference: None }));
        for (class, counts) in [(Class::Fault, true), (Class::Gone, false), (Class::Quota, false)] {
            assert_eq!(is_error(&Answer::Refused(refusal(class, None))), counts, "{class:?}");
        }
    }
}
