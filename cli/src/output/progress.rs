//! Progress of long work, on standard error, only on a terminal, only after a quarter of a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is over sooner shows no bar.
pub const PATIENCE: Duration = Duration::from_millis(250);

const BYTES: &str = "{msg:30!} {spinner} {bytes:>10} {bytes_per_sec:>12}";
const BYTES_OF_TOTAL: &str = "{msg:30!} {bar:30} {bytes:>10}/{total_bytes} {bytes_per_sec:>12} {eta:>4}";

/// A progress bar that stays hidden until work turns out to be long.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    wanted: bool,
    shown: bool,
}

impl Progress {
    /// Makes a bar that counts bytes; `total` of zero means that the end is not known.
    pub fn bytes(terminal: bool, total: u64) -> Progress {
        let template = if total > 0 { BYTES_OF_TOTAL } else { BYTES };
        Progress::with(terminal, total, template)
    }

    /// Makes a bar that counts steps.
    pub fn steps(terminal: bool, total: u64) -> Progress {
        Progress::with(terminal, total, "{msg:30!} {bar:30} {pos:>5}/{len} {elapsed}")
    }

    fn with(terminal: bool, total: u64, template: &str) -> Progress {
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress {
            bar,
            started: Instant::now(),
            wanted: terminal,
            shown: false,
        }
    }

    /// Names what is being worked on.
    pub fn describe(&self, what: &str) {
        if self.wanted {
            self.bar.set_message(what.to_owned());
        }
    }

    /// Returns a handle for a thread that does a part of the work.
    pub fn counter(&self) -> Counter {
        Counter {
            bar: self.bar.clone(),
            wanted: self.wanted,
        }
    }

    /// Adds to what is done.
    pub fn add(&mut self, amount: u64) {
        self.bar.inc(amount);
        self.maybe_show();
    }

    /// Counts something as done before the work begins: it says nothing about the rate.
    pub fn skip(&self, amount: u64) {
        self.bar.set_position(amount);
        self.bar.reset_eta();
    }

    /// Sets what is done and how much there is.
    pub fn set(&mut self, done: u64, total: u64) {
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

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Counts for a progress bar from another thread. The bar's owner decides when it is shown.
#[derive(Debug, Clone)]
pub struct Counter {
    bar: ProgressBar,
    wanted: bool,
}

impl Counter {
    /// Adds to what is done.
    pub fn add(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Names what is being worked on.
    pub fn describe(&self, what: &str) {
        if self.wanted {
            self.bar.set_message(what.to_owned());
        }
    }

    /// Says how many bytes there are, once that is known.
    pub fn total_bytes(&self, total: u64) {
        self.bar.set_length(total);
        if let Ok(style) = ProgressStyle::with_template(BYTES_OF_TOTAL) {
            self.bar.set_style(style);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
