//! Times and sizes of a datum, summed over its tries, and the result made from them.

use std::time::Duration;

use howdah_protocol::objects::{Datum, DatumOutcome, DatumResult, DatumStats};

use crate::metrics::Metrics;

/// Sums over the tries of a datum.
#[derive(Default)]
pub(super) struct DatumTotals {
    pub download: Duration,
    pub process: Duration,
    pub upload: Duration,
    /// Bytes of input of the last try.
    pub download_bytes: u64,
    pub upload_bytes: u64,
}

/// How a datum ended.
pub(super) struct DatumEnd {
    pub outcome: DatumOutcome,
    pub tries: u32,
    pub exit_code: Option<i32>,
    /// Why it failed, for the user.
    pub reason: Option<String>,
}

impl DatumTotals {
    /// Counts a finished datum and makes its result, without output files.
    pub(super) fn into_result(self, datum: &Datum, end: DatumEnd, metrics: &Metrics) -> DatumResult {
        let label = match end.outcome {
            DatumOutcome::Success => "success",
            DatumOutcome::Failed => "failed",
            DatumOutcome::Recovered => "recovered",
        };
        metrics.datums.with_label_values(&[label]).inc();
        metrics.download_seconds.observe(self.download.as_secs_f64());
        metrics.process_seconds.observe(self.process.as_secs_f64());
        metrics.upload_seconds.observe(self.upload.as_secs_f64());
        metrics.input_bytes.inc_by(self.download_bytes);
        metrics.output_bytes.inc_by(self.upload_bytes);
        DatumResult {
            id: datum.id,
            hash: datum.hash,
            state: end.outcome,
            tries: end.tries,
            exit_code: end.exit_code,
            reason: end.reason,
            stats: DatumStats {
                download_ms: millis(self.download),
                process_ms: millis(self.process),
                upload_ms: millis(self.upload),
                download_bytes: self.download_bytes,
                upload_bytes: self.upload_bytes,
            },
            outputs: Vec::new(),
        }
    }
}

/// Makes the result of a datum that is not run.
pub(crate) fn refused(datum: &Datum, reason: String, metrics: &Metrics) -> DatumResult {
    let end = DatumEnd {
        outcome: DatumOutcome::Failed,
        tries: 0,
        exit_code: None,
        reason: Some(reason),
    };
    DatumTotals::default().into_result(datum, end, metrics)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
