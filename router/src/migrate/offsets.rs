//! Which records of one lane there are: a bit for each offset.
//!
//! Pure. Bounded by the lane: twelve megabytes for a hundred million records.

const BITS: u64 = u64::BITS as u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offsets {
    first: u64,
    end: u64,
    words: Vec<u64>,
    count: u64,
}

impl Offsets {
    /// None yet, of those from the first to before the second.
    pub(super) fn of((first, end): (u64, u64)) -> Offsets {
        let words = end.saturating_sub(first).div_ceil(BITS) as usize;
        Offsets { first, end, words: vec![0; words], count: 0 }
    }

    fn place(&self, offset: u64) -> Option<(usize, u64)> {
        (self.first..self.end)
            .contains(&offset)
            .then(|| (((offset - self.first) / BITS) as usize, 1 << ((offset - self.first) % BITS)))
    }

    /// `None`: it is none of this lane's. False: it was there.
    pub(super) fn add(&mut self, offset: u64) -> Option<bool> {
        let (word, bit) = self.place(offset)?;
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        Some(is_new)
    }

    pub(super) fn has(&self, offset: u64) -> bool {
        self.place(offset).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many of these the other one of the same lane lacks.
    pub(super) fn lacking_in(&self, other: &Offsets) -> u64 {
        let pairs = self.words.iter().zip(&other.words);
        pairs.map(|(here, there)| u64::from((here & !there).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_counts_once_and_strangers_do_not() {
        let mut found = Offsets::of((100, 300));
        for offset in [100, 163, 164, 299, 163] {
            let is_new = !found.has(offset);
            assert_eq!(found.add(offset), Some(is_new), "{offset}");
        }
        assert_eq!((found.add(99), found.add(300), found.count()), (None, None, 4));
        assert_eq!(Offsets::of((5, 5)).add(5), None);
    }

    #[test]
    fn what_is_lacking_is_counted() {
        let (mut here, mut there) = (Offsets::of((7, 1_000)), Offsets::of((7, 1_000)));
        (7..1_000).for_each(|offset| assert_eq!(here.add(offset), Some(true)));
        (7..1_000)
            .filter(|offset| offset % 10 != 0)
            .for_each(|offset| assert_eq!(there.add(offset), Some(true)));
        assert_eq!((here.lacking_in(&there), there.lacking_in(&here)), (99, 0));
    }
}
