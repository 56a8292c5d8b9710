//! Log lines on their way to a client.

use std::collections::VecDeque;

use howdah_api::convert::to_timestamp;
use howdah_api::pps_v2 as pps;
use howdah_model::JobKey;
use howdah_protocol::objects::{LogLine, MasterLine};

use crate::services::reply::{ReplySender, StreamError};

/// Sends lines at once; or, for a request with `tail`, keeps the newest until [`LogOutput::release`].
pub struct LogOutput {
    sender: ReplySender<pps::LogMessage>,
    tail: Option<Tail>,
}

/// The newest lines. Memory is bounded by their number, which the client chooses, and not by that of all lines.
struct Tail {
    limit: usize,
    lines: VecDeque<pps::LogMessage>,
}

impl LogOutput {
    /// Makes an output that keeps the newest `tail` lines, or sends all.
    pub fn new(sender: ReplySender<pps::LogMessage>, tail: Option<usize>) -> Self {
        let tail = tail.map(|limit| Tail {
            limit,
            lines: VecDeque::new(),
        });
        Self { sender, tail }
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub async fn add(&mut self, message: pps::LogMessage) -> Result<(), StreamError> {
        let Some(Tail { limit, lines }) = &mut self.tail else {
            return self.sender.send(message).await;
        };
        if lines.len() == *limit {
            lines.pop_front();
        }
        lines.push_back(message);
        Ok(())
    }

    /// Sends the lines that were kept, and returns where later lines are sent.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub async fn release(self) -> Result<ReplySender<pps::LogMessage>, StreamError> {
        for message in self.tail.map(|tail| tail.lines).unwrap_or_default() {
            self.sender.send(message).await?;
        }
        Ok(self.sender)
    }
}

/// Writes a line that the coordinator has written about a pipeline.
pub fn master_message(line: &MasterLine) -> pps::LogMessage {
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
pub fn job_message(job: &JobKey, worker: &str, line: LogLine, data: Vec<pps::InputFile>) -> pps::LogMessage {
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
