//! Which lines a request selects by the input files of their datums.
//!
//! Each datum is looked up when a line of it comes: a job may have more datums than fit into memory.

use std::collections::HashMap;

use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, JobKey, State};
use howdah_protocol::objects::LogLine;
use howdah_store::Store;
use tonic::Status;

use crate::services::pps::known_datums::JobDatums;

/// Datums whose answer is remembered.
const REMEMBERED_DATUMS: usize = 16 << 10;

/// The filters of a request, for the lines of one job.
pub(super) struct DatumFilter<'a> {
    filters: &'a [String],
    /// Where the datums are recorded, if the job has ended.
    index: Option<JobDatums>,
    known: HashMap<DatumId, bool>,
}

impl<'a> DatumFilter<'a> {
    /// Makes the filter of a job, which may be deleted.
    pub(super) fn of_job(store: &Store, state: &State, job: &JobKey, filters: &'a [String]) -> Self {
        let index = state.job(job).map(|job| JobDatums::of_job(store, state, job));
        Self {
            filters,
            index: index.filter(JobDatums::has_index),
            known: HashMap::new(),
        }
    }

    /// Returns whether a line may be selected, before its input files are known.
    pub(super) fn may_pass(&self, line: &LogLine) -> bool {
        self.filters.is_empty() || line.datum.is_some()
    }

    /// Returns whether a line is selected. `files` are the input files of its datum, as its datum set has them.
    pub(super) async fn passes(&mut self, line: &LogLine, files: &[pps::InputFile]) -> Result<bool, Status> {
        let Some(datum) = line.datum.filter(|_| !self.filters.is_empty()) else {
            return Ok(self.filters.is_empty());
        };
        if let Some(known) = self.known.get(&datum) {
            return Ok(*known);
        }
        let recorded = match &self.index {
            Some(index) => index.find(&datum).await?,
            None => None,
        };
        let passes = match recorded {
            Some(recorded) => recorded.matches(self.filters),
            None => matches(self.filters, files),
        };
        if self.known.len() >= REMEMBERED_DATUMS {
            self.known.clear();
        }
        self.known.insert(datum, passes);
        Ok(passes)
    }
}

/// Returns whether each filter is the path or the content hash of one of the files.
fn matches(filters: &[String], files: &[pps::InputFile]) -> bool {
    filters.iter().all(|filter| {
        let path = filter.trim_matches('/');
        files
            .iter()
            .any(|file| file.path.trim_matches('/') == path || hex::encode(&file.hash) == *filter)
    })
}
