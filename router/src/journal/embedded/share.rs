//! How one read is shared out among the lanes: the most urgent first, none starved.
//!
//! Pure. Called by `EmbeddedReader` and by the Kafka reader.

use wire::message::Priority;

use crate::journal::embedded::LANES;

/// One part in this many of a read is kept for each lane that waits.
const SHARE_OF_EACH: usize = 16;

/// How many records to take from each lane (most urgent first), at most `max` in all. `turn` counts the reads:
/// when `max` is too small to keep a share for each lane, they take turns.
pub(crate) fn shares(waiting: [u64; LANES], max: usize, turn: u64) -> [usize; LANES] {
    let waiting = waiting.map(|records| usize::try_from(records).unwrap_or(usize::MAX));
    let mut taken = [0; LANES];
    let mut left = max;
    let kept = max / SHARE_OF_EACH;
    if kept > 0 {
        for lane in 0..LANES {
            taken[lane] = waiting[lane].min(kept);
            left -= taken[lane];
        }
    } else if turn % SHARE_OF_EACH as u64 == SHARE_OF_EACH as u64 - 1 && left > 0 {
        let first = (turn / SHARE_OF_EACH as u64) as usize % LANES;
        let lane = (0..LANES).map(|step| (first + step) % LANES).find(|lane| waiting[*lane] > 0);
        if let Some(lane) = lane {
            taken[lane] = 1;
            left -= 1;
        }
    }
    for lane in 0..LANES {
        let more = (waiting[lane] - taken[lane]).min(left);
        taken[lane] += more;
        left -= more;
    }
    taken
}

/// What there is to share out when critical records alone are read.
pub(crate) fn narrowed(waiting: [u64; LANES], critical_only: bool) -> [u64; LANES] {
    const CRITICAL: usize = Priority::Critical as usize;
    if critical_only {
        std::array::from_fn(|lane| if lane == CRITICAL { waiting[lane] } else { 0 })
    } else {
        waiting
    }
}

const _: () = assert!(LANES < SHARE_OF_EACH);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_lane_gets_all_but_the_kept_shares() {
        assert_eq!(shares([1_000, 1_000, 1_000, 1_000], 160, 0), [130, 10, 10, 10]);
        assert_eq!(shares([5, 1_000, 0, 1_000], 160, 0), [5, 145, 0, 10]);
    }

    #[test]
    fn a_read_takes_no_more_than_asked_and_no_more_than_waits() {
        for max in 0..100 {
            for turn in 0..40 {
                let taken = shares([3, 50, 0, 7], max, turn);
                assert!(taken.iter().sum::<usize>() <= max);
                assert_eq!(taken.iter().sum::<usize>(), max.min(60));
                assert!(taken[0] <= 3 && taken[1] <= 50 && taken[2] == 0 && taken[3] <= 7);
            }
        }
    }

    #[test]
    fn small_reads_reach_every_lane_in_turn() {
        let mut reached = [0; LANES];
        for turn in 0..640 {
            let taken = shares([u64::MAX; LANES], 1, turn);
            for lane in 0..LANES {
                reached[lane] += taken[lane];
            }
        }
        assert!(reached.iter().all(|records| *records >= 10), "{reached:?}");
        assert!(reached[0] > 600, "{reached:?}");
    }
}
