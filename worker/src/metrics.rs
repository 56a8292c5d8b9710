//! Metrics of a worker: names, help texts and labels, all in this file.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Buckets for durations in seconds: from the start of a trivial program to hours.
const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
];

/// All metrics of one worker, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    /// Datums finished, by `state`: `success`, `failed`, `recovered`.
    pub datums: IntCounterVec,
    /// Tries that failed.
    pub failed_tries: IntCounter,
    /// Datum sets finished, by `outcome`: `done`, `known`, `cancelled`, `returned`, `stale`, `trouble`.
    pub sets: IntCounterVec,
    /// Time spent laying out one datum's input.
    pub download_seconds: Histogram,
    /// Time spent in one datum's command.
    pub process_seconds: Histogram,
    /// Time spent storing one datum's output.
    pub upload_seconds: Histogram,
    /// Bytes of input laid out.
    pub input_bytes: IntCounter,
    /// Bytes of output stored.
    pub output_bytes: IntCounter,
    /// Pipes, sockets and devices that were left out of outputs.
    pub output_left_out: IntCounter,
    /// Messages of the queue that were ignored, by `reason`: `foreign`, `forged`, `old_epoch`, `unreadable`.
    pub messages_ignored: IntCounterVec,
    /// Slots.
    pub slots: IntGauge,
    /// Slots that are taken.
    pub slots_busy: IntGauge,
    /// Stage containers started.
    pub stage_starts: IntCounter,
    /// Stage containers replaced because their folders for temporary files could not be emptied.
    pub stages_replaced: IntCounter,
    /// Time that starting a stage container took.
    pub stage_start_seconds: Histogram,
    /// Files found in the cache.
    pub file_cache_hits: IntCounter,
    /// Files fetched into the cache.
    pub file_cache_misses: IntCounter,
    /// Chunks found on disk.
    pub chunk_cache_hits: IntCounter,
    /// Chunks fetched from the store.
    pub chunk_cache_misses: IntCounter,
    /// Bytes in the disk caches.
    pub cache_bytes: IntGauge,
    /// Log lines of user code.
    pub log_lines: IntCounter,
    /// Always 1, with the version as label.
    pub info: Gauge,
}

impl Metrics {
    /// Makes all metrics.
    pub fn new() -> Self {
        let registry = Registry::new();
        let seconds = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            registered(&registry, Histogram::with_opts(options))
        };
        let counter = |name: &str, help: &str| registered(&registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let by = |name: &str, help: &str, label: &str| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), &[label]))
        };
        let info = Opts::new("howdah_worker_info", "Version of the worker; always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let metrics = Self {
            datums: by(
                "howdah_worker_datums_total",
                "Datums finished, by state (success, failed, recovered).",
                "state",
            ),
            failed_tries: counter("howdah_worker_failed_tries_total", "Tries of datums that failed."),
            sets: by(
                "howdah_worker_sets_total",
                "Datum sets ended, by outcome (done, known, cancelled, returned, stale, trouble).",
                "outcome",
            ),
            download_seconds: seconds(
                "howdah_worker_download_seconds",
                "Time to lay out the input of one datum.",
            ),
            process_seconds: seconds(
                "howdah_worker_process_seconds",
                "Time in the command of one datum, over all its tries.",
            ),
            upload_seconds: seconds(
                "howdah_worker_upload_seconds",
                "Time to collect and store the output of one datum.",
            ),
            input_bytes: counter("howdah_worker_input_bytes_total", "Bytes of input laid out."),
            output_bytes: counter("howdah_worker_output_bytes_total", "Bytes of output stored."),
            output_left_out: counter(
                "howdah_worker_output_left_out_total",
                "Pipes, sockets and devices left out of outputs.",
            ),
            messages_ignored: by(
                "howdah_worker_messages_ignored_total",
                "Messages of the queue that were ignored, by reason (foreign, forged, old_epoch, unreadable).",
                "reason",
            ),
            slots: gauge("howdah_worker_slots", "Datums that the worker can process at once."),
            slots_busy: gauge("howdah_worker_slots_busy", "Slots that work on a datum set."),
            stage_starts: counter("howdah_worker_stage_starts_total", "Stage containers started."),
            stages_replaced: counter(
                "howdah_worker_stages_replaced_total",
                "Stage containers replaced because their temporary files could not be removed.",
            ),
            stage_start_seconds: seconds(
                "howdah_worker_stage_start_seconds",
                "Time to start a stage container, pulling its image included.",
            ),
            file_cache_hits: counter(
                "howdah_worker_file_cache_hits_total",
                "Input files found in the disk cache.",
            ),
            file_cache_misses: counter(
                "howdah_worker_file_cache_misses_total",
                "Input files that had to be fetched.",
            ),
            chunk_cache_hits: counter(
                "howdah_worker_chunk_cache_hits_total",
                "Chunks of a remote store found in the disk cache.",
            ),
            chunk_cache_misses: counter(
                "howdah_worker_chunk_cache_misses_total",
                "Chunks of a remote store that had to be fetched.",
            ),
            cache_bytes: gauge("howdah_worker_cache_bytes", "Bytes in the disk caches."),
            log_lines: counter("howdah_worker_log_lines_total", "Lines written by user code."),
            info: registered(&registry, Gauge::with_opts(info)),
            registry: registry.clone(),
        };
        metrics.info.set(1.0);
        metrics
    }

    /// Returns the registry, for a process that serves the metrics of several components on one page.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn page(&self) -> String {
        let mut page = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page) {
            tracing::warn!(%error, "metrics page not complete");
        }
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers a metric. Names are constants, so an error is a mistake in this file.
fn registered<M>(registry: &Registry, made: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = made.expect("names, labels and buckets above are legal");
    registry.register(Box::new(metric.clone())).expect("names above differ");
    metric
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::new();
        metrics.datums.with_label_values(&["success"]).inc_by(3);
        let page = metrics.page();
        assert!(
            page.contains("howdah_worker_datums_total{state=\"success\"} 3"),
            "{page}"
        );
        assert!(page.contains("# HELP howdah_worker_slots "));
    }
}
