//! A node under attack, as a whole: thousands of attackers of mixed kinds at once, storms at many times what the
//! node accepts, and a service that runs wild. Small here; `tests/campaigns/hostile.sh` runs the same for half an hour.
#![forbid(unsafe_code)]

mod attack;
mod half_open;
mod honest;
mod producer;
mod siege;
mod storm;

/// A figure of a run, from the environment or as small as `tests/run` needs it.
pub(crate) fn scale(name: &str, small: u64) -> u64 {
    match std::env::var(format!("HOSTILE_{name}")) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("HOSTILE_{name} = {text:?} is no number")),
        Err(_) => small,
    }
}
