//! What a request for log lines asks for.

use howdah_api::convert::from_duration;
use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, JobKey, PipelineKey};
use howdah_protocol::objects::LogLine;
use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use crate::metadata::Core;
use crate::services::{find, wire};

/// Age of the oldest lines of a pipeline if the client does not say.
const DEFAULT_SINCE: SignedDuration = SignedDuration::from_hours(24);

/// The lines that a client wants.
pub(super) struct LogFilter {
    /// The pipeline whose lines are wanted.
    pub pipeline: PipelineKey,
    /// Only lines of this job.
    pub job: Option<JobKey>,
    /// Only lines of this datum.
    pub datum: Option<DatumId>,
    /// Each must be the path or the content hash of an input file of the line's datum.
    pub data_filters: Vec<String>,
    /// The lines that the coordinator writes about the pipeline, instead of those of its workers.
    pub master: bool,
    /// Whether lines that are written from now on are sent, too.
    pub follow: bool,
    /// Of the lines that exist already, only this number of the newest.
    pub tail: Option<usize>,
    /// Only lines that are not older.
    pub since: Option<Timestamp>,
}

impl LogFilter {
    /// Reads a request.
    ///
    /// # Errors
    /// When its pipeline does not exist, or the request names neither a pipeline nor a job.
    pub(super) fn new(core: &Core, request: pps::GetLogsRequest) -> Result<Self, Status> {
        let datum_job = request.datum.as_ref().and_then(|datum| datum.job.clone());
        let job = match request.job.or(datum_job) {
            None => None,
            Some(job) => Some(wire::job_key(Some(&job))?),
        };
        let state = core.state();
        let pipeline = match (&job, &request.pipeline) {
            // Also one that is deleted: its lines stay. Whether there are any is seen when they are read.
            (Some(job), _) => job.pipeline.clone(),
            (None, Some(pipeline)) => find::pipeline(&state, &wire::pipeline_key(Some(pipeline))?)?
                .key
                .clone(),
            (None, None) if !request.data_filters.is_empty() || request.datum.is_some() => {
                return Err(Status::invalid_argument(
                    "filters need a pipeline or a job: the server's own log has no datums",
                ));
            }
            (None, None) => {
                return Err(Status::unimplemented(
                    "the server's own log is not available through the API; name a pipeline or a job, \
                     or look at the server's standard error",
                ));
            }
        };
        let datum = match request.datum.as_ref().filter(|datum| !datum.id.is_empty()) {
            None => None,
            Some(datum) => Some(
                datum
                    .id
                    .parse()
                    .map_err(|_| Status::invalid_argument(format!("{:?} is not the id of a datum", datum.id)))?,
            ),
        };
        let since = match (&request.since, &job) {
            (Some(since), _) if since.seconds != 0 || since.nanos != 0 => {
                let since = SignedDuration::try_from(from_duration(since)).unwrap_or(DEFAULT_SINCE);
                Some(Timestamp::now().saturating_sub(since).unwrap_or(Timestamp::MIN))
            }
            // No line of a job is older than the job: a limit would hide lines of a job that ran a week ago.
            (_, Some(_)) => None,
            (_, None) => Some(Timestamp::now().saturating_sub(DEFAULT_SINCE).unwrap_or(Timestamp::MIN)),
        };
        Ok(Self {
            pipeline,
            job,
            datum,
            data_filters: request.data_filters,
            master: request.master,
            follow: request.follow,
            tail: usize::try_from(request.tail).ok().filter(|tail| *tail > 0),
            since,
        })
    }

    /// Returns whether a line is wanted because of its datum and its time. The data filters are not considered.
    pub(super) fn passes(&self, line: &LogLine) -> bool {
        self.datum.is_none_or(|datum| line.datum == Some(datum)) && self.since.is_none_or(|since| line.ts >= since)
    }

    /// Returns whether lines of a job are wanted.
    pub(super) fn passes_job(&self, key: &JobKey) -> bool {
        key.pipeline == self.pipeline && self.job.as_ref().is_none_or(|job| job == key)
    }
}
