//! Progress of long work, on standard error, only on a terminal, only after a quarter of a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::{self, Colors};

/// Work that takes less time shows no bar.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

const BYTES: &str = "{msg:30!} {spinner} {bytes:>10} {bytes_per_sec:>12}";
const BYTES_OF_TOTAL: &str = "{msg:30!} {bar:30} {bytes:>10}/{total_bytes} {bytes_per_sec:>12} {eta:>4}";

/// A progress bar that is hidden for the first [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct ProgressDisplay {
    bar: ProgressBar,
    started: Instant,
    wanted: bool,
    shown: bool,
}

impl ProgressDisplay {
    /// Makes a bar that counts bytes; a `total` of zero means unknown.
    pub(crate) fn bytes(terminal: bool, total: u64) -> ProgressDisplay {
        let template = if total > 0 { BYTES_OF_TOTAL } else { BYTES };
        ProgressDisplay::with(terminal, total, template)
    }

    /// Makes a bar that counts steps.
    pub(crate) fn steps(terminal: bool, total: u64) -> ProgressDisplay {
        ProgressDisplay::with(terminal, total, "{msg:30!} {bar:30} {pos:>5}/{len} {elapsed}")
    }

    fn with(terminal: bool, total: u64, template: &str) -> ProgressDisplay {
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        ProgressDisplay {
            bar,
            started: Instant::now(),
            wanted: terminal,
            shown: false,
        }
    }

    /// Sets the name of the thing in progress.
    pub(crate) fn describe(&self, what: &str) {
        if self.wanted {
            self.bar.set_message(terminal::escape(what, Colors::Own).into_owned());
        }
    }

    /// Returns a handle that counts from another thread.
    pub(crate) fn counter(&self) -> ProgressCounter {
        ProgressCounter {
            bar: self.bar.clone(),
            wanted: self.wanted,
        }
    }

    /// Adds to the amount that is done, and shows the bar if it is time.
    pub(crate) fn add(&mut self, amount: u64) {
        self.bar.inc(amount);
        self.maybe_show();
    }

    /// Sets an amount that was done earlier; it does not count for the rate.
    pub(crate) fn skip(&self, amount: u64) {
        self.bar.set_position(amount);
        self.bar.reset_eta();
    }

    /// Sets the amount that is done and the total.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.maybe_show();
    }

    fn maybe_show(&mut self) {
        if self.wanted && !self.shown && self.started.elapsed() >= PATIENCE {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Removes the bar from the terminal.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Counts for a progress bar from another thread. Only the [`ProgressDisplay`] itself shows the bar.
#[derive(Debug, Clone)]
pub(crate) struct ProgressCounter {
    bar: ProgressBar,
    wanted: bool,
}

impl ProgressCounter {
    /// Adds to the amount that is done, and shows the bar if it is time.
    pub(crate) fn add(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Sets the name of the thing in progress.
    pub(crate) fn describe(&self, what: &str) {
        if self.wanted {
            self.bar.set_message(terminal::escape(what, Colors::Own).into_owned());
        }
    }

    /// Sets the total number of bytes, once it is known.
    pub(crate) fn total_bytes(&self, total: u64) {
        self.bar.set_length(total);
        if let Ok(style) = ProgressStyle::with_template(BYTES_OF_TOTAL) {
            self.bar.set_style(style);
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
