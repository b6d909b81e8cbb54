//! What the router depends on, whether it works, and since when. Pure; shown at `/v1/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::time::Wall;

/// How a dependency does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Up,
    Degraded,
    Down,
}

/// One thing that the router needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    pub name: &'static str,
    pub state: State,
    pub since: Wall,
    /// What is wrong; empty while it is up.
    pub detail: String,
    /// What people notice of it; empty while it is up.
    pub degraded: &'static str,
    /// What they notice when it is not.
    #[serde(skip)]
    suffers: &'static str,
    /// Without it the router takes nothing in.
    #[serde(skip)]
    is_vital: bool,
}

impl Dependency {
    /// Nothing new should be sent to a router without it.
    pub fn stops_work(&self) -> bool {
        self.is_vital && self.state == State::Down
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Board {
    dependencies: BTreeMap<&'static str, Dependency>,
}

impl Board {
    /// Names a dependency and what suffers when it is away. It is up until somebody says otherwise.
    pub fn watch(&mut self, name: &'static str, suffers: &'static str, now: Wall) {
        self.insert(name, suffers, true, now);
    }

    /// The same for one that something else stands in for.
    pub fn watch_replaceable(&mut self, name: &'static str, suffers: &'static str, now: Wall) {
        self.insert(name, suffers, false, now);
    }

    fn insert(&mut self, name: &'static str, suffers: &'static str, is_vital: bool, now: Wall) {
        let up = Dependency {
            name,
            state: State::Up,
            since: now,
            detail: String::new(),
            degraded: "",
            suffers,
            is_vital,
        };
        self.dependencies.insert(name, up);
    }

    /// True if the state changed. A dependency that nobody watches is a bug.
    pub fn set(&mut self, name: &'static str, state: State, detail: &str, now: Wall) -> bool {
        let dependency = self.dependencies.get_mut(name).expect("watched from the start");
        detail.clone_into(&mut dependency.detail);
        if dependency.state == state {
            return false;
        }
        (dependency.state, dependency.since) = (state, now);
        dependency.degraded = if state == State::Up { "" } else { dependency.suffers };
        true
    }

    pub fn all(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.values()
    }

    /// The worst of them; what something else stands in for only degrades.
    pub fn overall(&self) -> State {
        let weight = |one: &Dependency| if one.is_vital { one.state } else { one.state.min(State::Degraded) };
        self.all().map(weight).max().unwrap_or(State::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_when_the_state_does() {
        let mut board = Board::default();
        board.watch("store", "inbox", Wall(1));
        board.watch("journal", "ingest", Wall(1));
        assert_eq!((board.overall(), degraded(&board)), (State::Up, vec!["", ""]));
        assert!(board.set("store", State::Down, "disk full", Wall(2)));
        assert!(!board.set("store", State::Down, "still full", Wall(3)));
        let store = board.all().find(|dependency| dependency.name == "store").unwrap();
        assert_eq!((store.since, store.detail.as_str()), (Wall(2), "still full"));
        assert_eq!((board.overall(), degraded(&board)), (State::Down, vec!["", "inbox"]));
        assert!(board.set("store", State::Up, "", Wall(4)));
        assert_eq!(degraded(&board), ["", ""], "nothing suffers of what is up");
    }

    #[test]
    fn what_something_stands_in_for_degrades_and_stops_nothing() {
        let mut board = Board::default();
        board.watch("journal", "ingest", Wall(1));
        board.watch_replaceable("kafka", "the rest waits", Wall(1));
        board.set("kafka", State::Down, "silence", Wall(2));
        assert_eq!(board.overall(), State::Degraded);
        assert!(board.all().all(|one| !one.stops_work()));
        board.set("journal", State::Down, "disk full", Wall(3));
        assert_eq!(board.overall(), State::Down);
        assert_eq!(
            board.all().filter(|one| one.stops_work()).map(|one| one.name).collect::<Vec<_>>(),
            ["journal"]
        );
    }

    fn degraded(board: &Board) -> Vec<&'static str> {
        board.all().map(|dependency| dependency.degraded).collect()
    }
}
