//! Every metric of the coordinator: name, unit and help in one place (docs/metrics.md lists them).
//!
//! Labels are bounded: pipelines and states, never job or datum ids.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The registry that `/metrics` prints.
pub static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Buckets from 0.2 ms, a local append, to half a minute, a slow object store.
const LATENCY_BUCKETS: &[f64] = &[
    0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Buckets from 10 ms to an hour.
const JOB_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

fn registered<M: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the names and labels in this file are valid");
    REGISTRY
        .register(Box::new(metric.clone()))
        .expect("each metric of this file is registered once");
    metric
}

fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    registered(Histogram::with_opts(
        HistogramOpts::new(name, help).buckets(buckets.to_vec()),
    ))
}

/// Commands decided, refused ones included.
pub static COMMANDS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("howdah_commands_total", "Commands decided, refused ones included."));

/// Open connections to the port.
pub static CONNECTIONS: LazyLock<IntGauge> =
    LazyLock::new(|| registered(IntGauge::new("howdah_connections", "Open connections to the port.")));

/// Connections that the server has closed, by reason.
pub static CONNECTIONS_CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "howdah_connections_closed_total",
            "Connections closed by the server: no_preface (nothing sent), stranger (idle, caller unknown) or made_room.",
        ),
        &["reason"],
    ))
});

/// Failures to accept a connection.
pub static ACCEPT_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_accept_failures_total",
        "Failures to accept a connection, for example because too many files are open.",
    )
});

/// Requests that were refused before they reached a service, by reason.
pub static REQUESTS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "howdah_requests_refused_total",
            "Requests refused because of host, origin, protocol, or caller.",
        ),
        &["reason"],
    ))
});

/// Time of one append to the metadata log.
pub static LOG_APPEND_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "howdah_log_append_seconds",
        "Time of one append to the metadata log (one group of commands).",
        LATENCY_BUCKETS,
    )
});

/// Appends to the metadata log that failed.
pub static LOG_APPEND_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_log_append_failures_total",
        "Appends to the metadata log that failed; the record may have been written.",
    )
});

/// Calls that ended because other calls used all memory.
pub static CALLS_WITHOUT_MEMORY: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_calls_without_memory_total",
        "Calls that ended because other calls used all memory for calls.",
    )
});

/// Log lines dropped before they were stored, because workers sent more than there is memory for.
pub static LOG_LINES_DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_log_lines_dropped_total",
        "Pending log lines dropped by the coordinator, because workers sent more than there is memory for.",
    )
});

/// Datums finished, by pipeline and outcome.
pub static DATUMS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "howdah_datums_total",
            "Datums of jobs by outcome: processed, skipped, failed or recovered.",
        ),
        &["pipeline", "state"],
    ))
});

/// Jobs ended, by pipeline and final state.
pub static JOBS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new("howdah_jobs_total", "Jobs ended, by final state."),
        &["pipeline", "state"],
    ))
});

/// Jobs that are not over, by pipeline.
pub static JOBS_OPEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    registered(IntGaugeVec::new(
        Opts::new("howdah_jobs_open", "Jobs that are not over."),
        &["pipeline"],
    ))
});

/// Time from a job's start to its end.
pub static JOB_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    registered(HistogramVec::new(
        HistogramOpts::new("howdah_job_duration_seconds", "Time from a job's start to its end.")
            .buckets(JOB_BUCKETS.to_vec()),
        &["pipeline"],
    ))
});

/// Time spent on planning one job.
pub static PLAN_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "howdah_job_plan_seconds",
        "Time to compute and store a job's plan.",
        LATENCY_BUCKETS,
    )
});

/// Time spent on merging one job's outputs.
pub static MERGE_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "howdah_job_merge_seconds",
        "Time to merge a job's outputs into its output commit.",
        LATENCY_BUCKETS,
    )
});

/// Bytes that user code read and wrote, by pipeline and direction.
pub static DATUM_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "howdah_datum_bytes_total",
            "Input (down) and output (up) bytes of processed datums.",
        ),
        &["pipeline", "direction"],
    ))
});

/// Datum sets published again because their message was lost.
pub static SETS_REPUBLISHED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_datum_sets_republished_total",
        "Datum sets published again after their message was lost.",
    )
});

/// Events of workers about sets of a plan that was discarded.
pub static OTHER_PLAN_EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "howdah_other_plan_events_total",
        "Events of workers about datum sets of a plan that was discarded, ignored.",
    )
});

/// Messages of the queue that were ignored, by reason: foreign, forged, old_epoch, unreadable.
pub static MESSAGES_IGNORED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "howdah_messages_ignored_total",
            "Messages of the queue that were ignored, by reason (foreign, forged, old_epoch, unreadable).",
        ),
        &["reason"],
    ))
});

/// Datum sets on the queue, by pipeline and state: waiting, or held by a worker.
pub static QUEUE_DEPTH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    registered(IntGaugeVec::new(
        Opts::new(
            "howdah_queue_datum_sets",
            "Datum sets on the queue: waiting, or held by a worker.",
        ),
        &["pipeline", "state"],
    ))
});

/// 1 while this coordinator leads, 0 while it stands by.
pub static LEADING: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new(
        "howdah_coordinator_leading",
        "1 while this coordinator leads, 0 while it stands by.",
    ))
});

/// Workers that have sent a heartbeat within the last ten seconds.
pub static WORKERS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new(
        "howdah_workers",
        "Workers heard from in the last ten seconds.",
    ))
});

/// Prints every metric in the Prometheus text format.
pub fn render() -> String {
    let mut out = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.gather(), &mut out) {
        tracing::error!(%error, "metrics could not be encoded");
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Registers the metrics without labels, so that `/metrics` shows them before their first use.
pub fn register_unlabelled() {
    LazyLock::force(&COMMANDS);
    LazyLock::force(&CONNECTIONS);
    LazyLock::force(&ACCEPT_FAILURES);
    LazyLock::force(&LOG_APPEND_SECONDS);
    LazyLock::force(&LOG_APPEND_FAILURES);
    LazyLock::force(&CALLS_WITHOUT_MEMORY);
    LazyLock::force(&LOG_LINES_DROPPED);
    LazyLock::force(&PLAN_SECONDS);
    LazyLock::force(&MERGE_SECONDS);
    LazyLock::force(&SETS_REPUBLISHED);
    LazyLock::force(&OTHER_PLAN_EVENTS);
    LazyLock::force(&MESSAGES_IGNORED);
    LazyLock::force(&WORKERS);
    LazyLock::force(&LEADING);
}
