//! Results of datum sets: read from the store, checked, added to the merge.

use std::sync::Arc;

use bytes::Bytes;
use howdah_model::{DatumCounts, JobStats};
use howdah_protocol::objects::{DatumSet, SetResult, result_key};
use howdah_protocol::wire;

use super::context::JobContext;
use super::error::DriveError;
use super::merge::{MergeError, Merger};
use super::publish::SetPublisher;
use super::view::JobView;
use crate::metrics;

/// A set and the encoded result that is stored for it.
pub(super) struct SetWithResult {
    pub(super) set: Arc<DatumSet>,
    pub(super) result: Bytes,
}

/// Reads a set and its result at the same time; `None` unless both are stored.
pub(super) async fn find_result(
    context: &JobContext,
    view: &JobView,
    publisher: &SetPublisher<'_>,
    set: u32,
) -> Result<Option<SetWithResult>, DriveError> {
    let key = result_key(&view.job.pipeline, &view.job.id, publisher.plan(), set);
    let result = async { Ok(context.core.store().get_opt(&key).await?) };
    let (set, result) = tokio::try_join!(publisher.set(set), result)?;
    Ok(set.zip(result).map(|(set, result)| SetWithResult { set, result }))
}

/// Decodes the result of a set and adds it to the merge. May block, see [`Merger::add`].
///
/// # Errors
/// [`DriveError::Mismatch`] when the result is not about exactly the datums of the set, by id and hash. A worker wrote
/// it for another plan of the job; merging it would give the output files of other input.
pub(super) fn add(
    mut merger: Merger,
    set: &DatumSet,
    result: &[u8],
) -> Result<(Merger, DatumCounts, JobStats), DriveError> {
    let result: SetResult = wire::decode(result)?;
    let mut pairs = set.datums.iter().zip(&result.datums);
    let same = set.datums.len() == result.datums.len() && pairs.all(|(a, b)| a.id == b.id && a.hash == b.hash);
    if !same {
        return Err(DriveError::Mismatch(format!(
            "the result of set {} is not about the datums of that set",
            set.set
        )));
    }
    let (counts, stats) = merger.add(set, &result).map_err(MergeError::from)?;
    Ok((merger, counts, stats))
}

/// Adds the datums of one result to the metrics.
pub(super) fn count_datums(pipeline: &str, counts: &DatumCounts, stats: &JobStats) {
    for (state, count) in [
        ("processed", counts.processed),
        ("failed", counts.failed),
        ("recovered", counts.recovered),
    ] {
        metrics::DATUMS.with_label_values(&[pipeline, state]).inc_by(count);
    }
    metrics::DATUM_BYTES
        .with_label_values(&[pipeline, "down"])
        .inc_by(stats.download_bytes);
    metrics::DATUM_BYTES
        .with_label_values(&[pipeline, "up"])
        .inc_by(stats.upload_bytes);
}
