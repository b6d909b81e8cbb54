//! What a letter is written on: the operator's own words, and the link by which its reader can have no more of them.
//!
//! Owns what is the same for all accounts and no carrier's business to know. Called by `dispatch` for each letter, before its
//! carrier sees it; `node::control` brings other templates.

use std::sync::{Arc, PoisonError, RwLock};

use wire::time::Wall;

use super::letter::Letter;
use crate::templates::{Failure, Templates};
use crate::unsubscribe::Exits;

#[derive(Debug, Default)]
pub struct Stationery {
    exits: Option<Arc<Exits>>,
    templates: RwLock<Option<Arc<Templates>>>,
}

impl Stationery {
    pub fn new(exits: Option<Arc<Exits>>, templates: Option<Arc<Templates>>) -> Stationery {
        Stationery { exits, templates: RwLock::new(templates) }
    }

    /// Other words from the next letter on.
    pub fn change(&self, templates: Option<Arc<Templates>>) {
        *self.templates.write().unwrap_or_else(PoisonError::into_inner) = templates;
    }

    /// The letter as it goes out, and the templates that failed for it.
    pub fn dress(&self, mut letter: Letter, accepted_at: Wall) -> (Letter, Vec<Failure>) {
        letter.unsubscribe = self.exits.as_ref().and_then(|exits| exits.of(&letter));
        let templates = self.templates.read().unwrap_or_else(PoisonError::into_inner).clone();
        let failures = templates.map_or_else(Vec::new, |templates| templates.dress(&mut letter, accepted_at));
        (letter, failures)
    }
}
