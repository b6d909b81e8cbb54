//! Which address a client asks: its home first, then all others in an order of its own, so that the clients of a lost node
//! spread over those that are left and none asks the same one twice in a row. Pure; part of `fleet`.

use super::{Fleet, mix};

/// The home of a client: weights shared out by number.
pub(super) fn home(number: u32, shares: &[u32]) -> usize {
    let total: u64 = shares.iter().map(|weight| u64::from(*weight)).sum();
    let mut point = u64::from(number) % total.max(1);
    for (at, weight) in shares.iter().enumerate() {
        match point.checked_sub(u64::from(*weight)) {
            None => return at,
            Some(rest) => point = rest,
        }
    }
    0
}

/// Address `turn` of `count` for a client whose home is `home`; `drawn` orders the others.
pub(super) fn address(home: usize, turn: usize, count: usize, drawn: u64) -> usize {
    let step = turn % count;
    if step == 0 {
        return home;
    }
    let others = count - 1;
    let first = (drawn % others as u64) as usize;
    (home + 1 + (first + step - 1) % others) % count
}

impl Fleet {
    /// The address of the attempt that begins now.
    pub(super) fn next_target(&mut self, place: u32) -> usize {
        let number = self.config.lane.number(place);
        let client = &mut self.clients[place as usize];
        let turn = usize::from(client.turn);
        client.turn = client.turn.wrapping_add(1);
        let home = home(number, &self.config.shares);
        address(home, turn, self.config.targets.len(), mix(!self.config.seed, u64::from(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_share_clients_out_exactly() {
        let mut counts = [0; 3];
        for number in 0..2_400 {
            counts[home(number, &[10, 1, 1])] += 1;
        }
        assert_eq!(counts, [2_000, 200, 200]);
        assert_eq!([0, 1, 2, 3].map(|number| home(number, &[0, 1])), [1; 4]);
    }

    #[test]
    fn a_round_asks_every_address_once_and_begins_at_home() {
        for count in 1..6 {
            for drawn in 0..7 {
                let mut round: Vec<usize> =
                    (0..count).map(|turn| address(1 % count, turn, count, drawn)).collect();
                assert_eq!(round[0], 1 % count);
                round.sort_unstable();
                assert_eq!(round, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_clients_of_a_lost_node_spread_over_the_others() {
        let second: Vec<usize> = (0..1_000).map(|n| address(0, 1, 3, mix(7, n))).collect();
        let at_one = second.iter().filter(|at| **at == 1).count();
        assert!((400..600).contains(&at_one) && second.iter().all(|at| *at != 0), "{at_one}");
    }
}
