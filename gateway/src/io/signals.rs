//! Signals: SIGTERM and SIGINT drain, a second one ends the process at once; SIGHUP reloads.
//!
//! One thread waits for them and calls what it was given. Called by `main`.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a process that was told to end twice.
const ENDED_BY_SIGNAL: i32 = 1;

/// Starts to listen. `drain` is called once, `reload` at every SIGHUP.
pub fn listen(
    mut drain: impl FnMut() + Send + 'static,
    mut reload: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let wait = move || {
        let mut is_draining = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => reload(),
                _ if is_draining => std::process::exit(ENDED_BY_SIGNAL),
                _ => {
                    is_draining = true;
                    drain();
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_detached| ())
}
