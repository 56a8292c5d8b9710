//! Log lines on their way to a client.

use std::collections::BTreeMap;

use howdah_api::convert::to_timestamp;
use howdah_api::pps_v2 as pps;
use howdah_model::{JobKey, PipelineKey};
use howdah_protocol::objects::{LogLine, MasterLine};
use jiff::Timestamp;
use prost::Message;
use tonic::Status;

use crate::memory_budget::{MemoryBudget, Reservation};
use crate::services::reply::{ReplySender, StreamError};

/// Bytes of the lines of a request with `tail`.
const MAX_TAIL_BYTES: usize = 64 << 20;

/// Memory that is reserved at a time for the lines of a request with `tail`.
const TAIL_STEP_BYTES: usize = 1 << 20;

/// Sends lines at once; or, for a request with `tail`, keeps the newest until [`LogOutput::release`].
pub(super) struct LogOutput {
    sender: ReplySender<pps::LogMessage>,
    tail: Option<Tail>,
}

/// The newest lines by time.
struct Tail {
    limit: usize,
    /// By time, then by the order in which they came.
    lines: BTreeMap<(i64, i32, u64), pps::LogMessage>,
    /// Number of lines so far.
    count: u64,
    bytes: usize,
    budget: MemoryBudget,
    /// Memory for `bytes`, in steps.
    reserved: Vec<Reservation>,
}

impl Tail {
    /// Reserves memory for the lines. Does not wait: the call holds memory already.
    fn reserve(&mut self) -> Result<(), Status> {
        // The first step is free.
        while self.bytes > (self.reserved.len() + 1) * TAIL_STEP_BYTES {
            let Some(reservation) = self.budget.try_reserve(TAIL_STEP_BYTES) else {
                return Err(Status::resource_exhausted(format!(
                    "there is no memory left for the newest {} lines: ask for fewer, or for all, or try again later",
                    self.limit
                )));
            };
            self.reserved.push(reservation);
        }
        Ok(())
    }
}

impl LogOutput {
    /// Makes an output that keeps the newest `tail` lines, or sends all.
    pub(super) fn new(sender: ReplySender<pps::LogMessage>, tail: Option<usize>, budget: &MemoryBudget) -> Self {
        let tail = tail.map(|limit| Tail {
            limit,
            lines: BTreeMap::new(),
            count: 0,
            bytes: 0,
            budget: budget.clone(),
            reserved: Vec::new(),
        });
        Self { sender, tail }
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the client has disconnected, or the newest lines need too much memory.
    pub(super) async fn add(&mut self, message: pps::LogMessage) -> Result<(), StreamError> {
        let Some(tail) = &mut self.tail else {
            return self.sender.send(message).await;
        };
        tail.count += 1;
        tail.bytes += message.encoded_len();
        let ts = message.ts.unwrap_or_default();
        tail.lines.insert((ts.seconds, ts.nanos, tail.count), message);
        if tail.lines.len() > tail.limit
            && let Some((_, oldest)) = tail.lines.pop_first()
        {
            tail.bytes -= oldest.encoded_len();
        }
        if tail.bytes > MAX_TAIL_BYTES {
            let limit = tail.limit;
            return Err(Status::resource_exhausted(format!(
                "the newest {limit} lines have more than {} MiB: ask for fewer, or for all",
                MAX_TAIL_BYTES >> 20
            ))
            .into());
        }
        tail.reserve().map_err(StreamError::from)
    }

    /// Sends the lines that were kept, and returns where later lines are sent.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn release(self) -> Result<ReplySender<pps::LogMessage>, StreamError> {
        if let Some(tail) = self.tail {
            // The memory is kept until the last line is sent.
            let _reserved = tail.reserved;
            for message in tail.lines.into_values() {
                self.sender.send(message).await?;
            }
        }
        Ok(self.sender)
    }
}

/// Writes a line for a follower that was too slow.
pub(super) fn missed_message(pipeline: &PipelineKey, batches: u64) -> pps::LogMessage {
    pps::LogMessage {
        pipeline_name: pipeline.name.to_string(),
        project_name: pipeline.project.to_string(),
        // As a line of user code, so that it is shown where such lines are missing.
        user: true,
        ts: Some(to_timestamp(Timestamp::now())),
        message: format!(
            "[howdah: lines may be missing here: the client was too slow for {batches} batches of lines; without \
             following, all stored lines are shown]"
        ),
        ..Default::default()
    }
}

/// Writes a line that the coordinator has written about a pipeline.
pub(super) fn master_message(line: &MasterLine) -> pps::LogMessage {
    pps::LogMessage {
        pipeline_name: line.pipeline.name.to_string(),
        project_name: line.pipeline.project.to_string(),
        master: true,
        ts: Some(to_timestamp(line.ts)),
        message: line.message.clone(),
        ..Default::default()
    }
}

/// Writes a line of a job. `data` are the input files of its datum; `worker` is empty if it is not known.
pub(super) fn job_message(job: &JobKey, worker: &str, line: LogLine, data: Vec<pps::InputFile>) -> pps::LogMessage {
    pps::LogMessage {
        pipeline_name: job.pipeline.name.to_string(),
        project_name: job.pipeline.project.to_string(),
        job_id: job.id.to_string(),
        worker_id: worker.to_owned(),
        datum_id: line.datum.map(|id| id.to_string()).unwrap_or_default(),
        master: false,
        data,
        user: line.user,
        ts: Some(to_timestamp(line.ts)),
        message: line.message,
    }
}
