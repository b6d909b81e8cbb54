//! What the operating system asks of the router: SIGTERM and SIGINT end it in order, a second one at once; SIGHUP has
//! the settings read again.

use std::io;
use std::process;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Exit code of an end that was not waited for.
const CUT_OFF: i32 = 1;

#[derive(Debug)]
pub struct Signals(signal_hook::iterator::Signals);

impl Signals {
    /// From here on the signals are ours.
    pub fn new() -> io::Result<Signals> {
        signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map(Signals)
    }

    /// Blocks until an orderly end is asked for; calls `reload` at every SIGHUP until then. A second request to end
    /// while that goes on ends the process.
    pub fn wait_for_end(mut self, mut reload: impl FnMut()) {
        for signal in &mut self.0 {
            match signal {
                SIGHUP => reload(),
                _ => break,
            }
        }
        tracing::info!("going down");
        std::thread::spawn(move || {
            if self.0.forever().any(|signal| signal != SIGHUP) {
                process::exit(CUT_OFF);
            }
        });
    }
}
