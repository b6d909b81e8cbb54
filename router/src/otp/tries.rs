//! Tries that are bounded by the hour, whoever makes them. Pure; on the owner's steady clock.

use wire::time::Wall;

use crate::store::StoreError;
use crate::store::codec::{Decoder, Encoder};

/// The span that tries are counted in.
pub const WITHIN_US: i64 = 3_600_000_000;

/// When there were tries, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tries(Vec<Wall>);

impl Tries {
    /// Whether there is room for another, with so many in an hour.
    pub fn has_room(&self, most: usize, now: Wall) -> bool {
        self.0.iter().filter(|at| counts(**at, now)).count() < most
    }

    pub fn note(&mut self, now: Wall) {
        self.0.retain(|at| counts(*at, now));
        self.0.push(now);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self, row: &mut Encoder) {
        row.u32(self.0.len() as u32);
        for at in &self.0 {
            row.wall(*at);
        }
    }

    pub(super) fn decode(row: &mut Decoder) -> Result<Tries, StoreError> {
        let count = row.count(8)?;
        Ok(Tries((0..count).map(|_| row.wall()).collect::<Result<_, _>>()?))
    }
}

fn counts(at: Wall, now: Wall) -> bool {
    at.0 > now.0.saturating_sub(WITHIN_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_so_many_and_what_is_older_goes() {
        let mut tries = Tries::default();
        for second in 0..10 {
            assert!(tries.has_room(10, Wall(second)));
            tries.note(Wall(second));
        }
        assert!(!tries.has_room(10, Wall(WITHIN_US - 1)) && tries.has_room(10, Wall(WITHIN_US)));
        tries.note(Wall(3 * WITHIN_US));
        assert_eq!(tries.0.len(), 1);
    }
}
