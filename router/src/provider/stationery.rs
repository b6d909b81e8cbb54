//! What a letter is written on: the link by which its reader can have no more of them.
//!
//! Owns what is the same for all accounts and no carrier's business to know. Called by `dispatch` for each letter, before its
//! carrier sees it.

use std::sync::Arc;

use super::letter::Letter;
use crate::unsubscribe::Exits;

#[derive(Debug, Default)]
pub struct Stationery {
    exits: Option<Arc<Exits>>,
}

impl Stationery {
    pub fn new(exits: Option<Arc<Exits>>) -> Stationery {
        Stationery { exits }
    }

    /// The letter as it goes out.
    pub fn dress(&self, mut letter: Letter) -> Letter {
        letter.unsubscribe = self.exits.as_ref().and_then(|exits| exits.of(&letter));
        letter
    }
}
