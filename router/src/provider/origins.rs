//! Push services by where they are: which of them is known to be one, and how much is on its way to each.
//!
//! An address comes from a browser, or from somebody who calls itself one. Until a place has taken something, its silence speaks for
//! nobody but itself: it is no fault of Web Push's, which would be held back for everybody. Pure but for its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::letter::{Answer, Class, Refusal};
use crate::limits::{WEBPUSH_AT_ONCE_MAX, WEBPUSH_ORIGINS_MAX};

#[derive(Debug, Default)]
pub struct Origins(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    good: BTreeSet<String>,
    at_once: BTreeMap<String, usize>,
}

/// One request that is on its way.
#[derive(Debug)]
pub struct AtOnce<'a> {
    origins: &'a Origins,
    origin: String,
}

impl Origins {
    /// `None`: as many as may be are on their way there.
    pub fn begin(&self, origin: &str) -> Option<AtOnce<'_>> {
        let mut known = self.lock();
        let count = known.at_once.entry(origin.to_owned()).or_default();
        if *count >= WEBPUSH_AT_ONCE_MAX {
            return None;
        }
        *count += 1;
        Some(AtOnce { origins: self, origin: origin.to_owned() })
    }

    /// A fault of a place that has never taken anything is told as "later".
    pub fn weigh(&self, origin: &str, answer: Answer) -> Answer {
        let mut known = self.lock();
        match answer {
            Answer::Taken { .. } => {
                if known.good.len() < WEBPUSH_ORIGINS_MAX {
                    known.good.insert(origin.to_owned());
                }
                answer
            }
            Answer::Refused(refusal) if refusal.class == Class::Fault && !known.good.contains(origin) => {
                Answer::Refused(Refusal { class: Class::Quota, ..refusal })
            }
            answer => answer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtOnce<'_> {
    fn drop(&mut self) {
        let mut known = self.origins.lock();
        if let Some(count) = known.at_once.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                known.at_once.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Answer {
        let (code, detail) = ("connect".to_owned(), String::new());
        Answer::Refused(Refusal { class: Class::Fault, code, detail, retry_after: None })
    }

    fn class(answer: &Answer) -> Option<Class> {
        if let Answer::Refused(refusal) = answer { Some(refusal.class) } else { None }
    }

    #[test]
    fn a_place_that_took_nothing_yet_speaks_for_nobody_else() {
        let origins = Origins::default();
        assert_eq!(class(&origins.weigh("https://a", fault())), Some(Class::Quota));
        origins.weigh("https://a", Answer::Taken { reference: None });
        assert_eq!(class(&origins.weigh("https://a", fault())), Some(Class::Fault));
        assert_eq!(class(&origins.weigh("https://b", fault())), Some(Class::Quota));
    }

    #[test]
    fn so_many_at_once_and_no_more() {
        let origins = Origins::default();
        let begun: Vec<_> = (0..WEBPUSH_AT_ONCE_MAX).map(|_| origins.begin("https://a").unwrap()).collect();
        assert!(origins.begin("https://a").is_none() && origins.begin("https://b").is_some());
        drop(begun);
        assert!(origins.begin("https://a").is_some());
        assert!(origins.lock().at_once.is_empty(), "nothing is kept of what ended");
    }
}
