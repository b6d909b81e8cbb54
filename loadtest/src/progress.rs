//! What people see while a run goes on: a bar on a terminal, a plain line every few seconds elsewhere. Standard error only. A
//! porch. Called by `run`.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wire::time::Mono;

use crate::limits::LINE_EVERY;

const BAR: &str = "{prefix:10} {bar:32.cyan/blue} {pos}/{len} {elapsed} {msg}";

/// One bar for one part of a run after the other.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    part: &'static str,
    total: u64,
    line_at: Mono,
}

impl Progress {
    pub fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, part: "", total: 0, line_at: Mono::ZERO }
    }

    /// The next part, of so many steps.
    pub fn begin(&mut self, part: &'static str, total: u64) {
        self.part = part;
        self.total = total;
        self.line_at = Mono::ZERO;
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(total);
            bar.set_prefix(part);
        }
    }

    pub fn show(&mut self, done: u64, more: &str, now: Mono) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(more.to_owned());
        } else if self.line_at == Mono::ZERO || now.since(self.line_at) >= LINE_EVERY {
            self.line_at = now;
            eprintln!("{} {done}/{} {more}", self.part, self.total);
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}
