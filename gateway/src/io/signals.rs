//! Signals: the first SIGTERM or SIGINT drains, a second one ends the drain's window, a third one ends the
//! process at once; SIGHUP reloads.
//!
//! One thread waits for them and calls what it was given. Called by `main`.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a process that would not be waited for.
const ENDED_BY_SIGNAL: i32 = 1;

/// Starts to listen. `drain` and `hurry` are called once, in that order, `reload` at every SIGHUP.
pub fn listen(
    mut drain: impl FnMut() + Send + 'static,
    mut hurry: impl FnMut() + Send + 'static,
    mut reload: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let wait = move || {
        let mut told_to_end = 0;
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload();
                continue;
            }
            told_to_end += 1;
            match told_to_end {
                1 => drain(),
                2 => hurry(),
                _ => std::process::exit(ENDED_BY_SIGNAL),
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_detached| ())
}
