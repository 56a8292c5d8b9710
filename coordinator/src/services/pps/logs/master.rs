//! Lines that the coordinator has written about a pipeline, for example that it cannot run.

use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_protocol::objects::{MasterLine, master_lines_prefix};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::filter::LogFilter;
use super::output::{LogOutput, master_message};
use crate::metadata::Core;
use crate::services::find;
use crate::services::pps::known_datums::decode;
use crate::services::reply::{ReplySender, StreamError};
use crate::services::status::{IntoStatus, shutting_down};

/// Sends the stored lines of a pipeline; then, with `live`, those that are written from now on.
pub(super) async fn send_master_lines(
    core: Core,
    filter: LogFilter,
    live: Option<broadcast::Receiver<Arc<MasterLine>>>,
    sender: ReplySender<pps::LogMessage>,
) -> Result<(), StreamError> {
    let state = core.state();
    let created = find::pipeline(&state, &filter.pipeline)?.created;
    // A deleted pipeline of the same name has left lines; they are older than this pipeline.
    let since = filter.since.map_or(created, |since| since.max(created));
    let objects = core.store().list(&master_lines_prefix(&filter.pipeline)).await;
    let mut output = LogOutput::new(sender, filter.tail, &core.live().reply_memory);
    let mut newest = None;
    for object in objects.map_err(IntoStatus::into_status)? {
        let bytes = core.store().get(&object.key).await.map_err(IntoStatus::into_status)?;
        let line = decode::<MasterLine>(&bytes)?;
        newest = Some(line.ts);
        if line.ts >= since {
            output.add(master_message(&line)).await?;
        }
    }
    let sender = output.release().await?;
    let Some(mut live) = live else { return Ok(()) };
    loop {
        let line = tokio::select! {
            line = live.recv() => line,
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        };
        match line {
            // A line that was stored after the subscription began comes twice. It is recognised because it is not newer
            // than the newest stored line.
            Ok(line) if line.pipeline == filter.pipeline && newest.is_none_or(|newest| line.ts > newest) => {
                sender.send(master_message(&line)).await?;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(shutting_down().into()),
        }
    }
}
