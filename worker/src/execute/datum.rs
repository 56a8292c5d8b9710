//! One datum: its tries, its error handler, its result.
//!
//! [`DatumRunner::process`] tries the datum until a try succeeds or all allowed tries have failed. A try lays out the
//! input, runs the command, collects the output and hands it to the set's writers. What counts as a failed try is
//! decided in [`DatumRunner::try_once`] and, for output files that are links to inputs, in [`store_output`]:
//!
//! - the command fails, or its output is rejected or takes too long to store: a failed try;
//! - the container is lost for the first time ([`DatumRunner::judge_loss`]), its folders for temporary files cannot be
//!   emptied, or the datum is restarted on request: the try does not count;
//! - store, disk or engine fail, or the set is stopped: an [`Interrupt`], which ends the whole set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_protocol::objects::{Datum, DatumOutcome, DatumResult, JobPlan, StageSpec};
use tokio_util::sync::CancellationToken;

use crate::context::WorkerContext;
use crate::error::InfraError;
use crate::execute::datum_output::OutputStorer;
use crate::execute::datum_totals::{DatumEnd, DatumTotals};
use crate::execute::environment;
use crate::execute::failure_messages;
use crate::execute::interrupt::Interrupt;
use crate::execute::lines::LineSplitter;
use crate::execute::logs::SetLog;
use crate::pfs::collect_output::{CollectError, collect_output};
use crate::pfs::collected::CollectedOutput;
use crate::pfs::inputs;
use crate::pfs::output_time::OutputTime;
use crate::pfs::set_output::SetOutput;
use crate::runtime::{RunOutcome, RunRequest, RuntimeError};
use crate::set_handle::SetHandle;
use crate::slots::running_stage::{RunningStage, stage_key};
use crate::slots::slot::Slot;
use howdah_telemetry::error_chain;

/// Lost stages per datum that do not count as a try.
const UNCOUNTED_LOSSES: u32 = 1;
/// Deliveries of a set up to which the first loss does not count. A datum that ends its container may also end the
/// worker; without this limit the set would be redelivered for ever.
const UNCOUNTED_DELIVERIES: u64 = 2;

/// Runs datums of one set.
pub(crate) struct DatumRunner<'a> {
    pub context: &'a WorkerContext,
    pub plan: &'a JobPlan,
    pub log: &'a SetLog,
    pub handle: &'a SetHandle,
    pub output: &'a SetOutput,
    /// How often the set has been delivered, including this time.
    pub delivered: u64,
}

/// How one try ended.
enum TryOutcome {
    Succeeded {
        code: Option<i32>,
        output: CollectedOutput,
        /// What is left of the time to collect and store the output.
        time: OutputTime,
    },
    Failed(TryFailure),
    /// The stage was lost or replaced, or the datum was restarted on request: another try follows.
    NotCounted,
}

/// What happens in the stage before a command starts.
enum BeforeCommand {
    /// The folders for temporary files are emptied.
    EmptyTemporary,
    /// Nothing: the error handler sees the files of the failed try.
    Nothing,
}

struct TryFailure {
    reason: String,
    code: Option<i32>,
    /// Whether the command itself failed, so that the error handler runs.
    by_command: bool,
}

impl TryFailure {
    /// Returns a failure that is not the command's own.
    fn around_command(reason: String, code: Option<i32>) -> Self {
        Self {
            reason,
            code,
            by_command: false,
        }
    }
}

impl DatumRunner<'_> {
    /// Processes a datum. Its output is in the store only after the set's writers have finished.
    ///
    /// `index` is its place in the set.
    pub(crate) async fn process(
        &self,
        slot: &mut Slot,
        index: usize,
        datum: &Arc<Datum>,
    ) -> Result<DatumResult, Interrupt> {
        let vars = environment::of_datum(self.plan, datum, &self.context.location);
        let mut totals = DatumTotals::default();
        let (mut tries, mut losses, mut recovered) = (0, 0, false);
        let mut last: Option<TryFailure> = None;
        let allowed = self.plan.stage.datum_tries.max(1);
        let metrics = &self.context.metrics;
        while tries < allowed {
            // On the heap: it is the largest part of the futures of set, slot and worker around it.
            let failure = match Box::pin(self.try_once(slot, datum, &vars, &mut totals, &mut losses)).await? {
                TryOutcome::NotCounted => continue,
                TryOutcome::Failed(failure) => failure,
                TryOutcome::Succeeded { code, output, time } => {
                    let storer = OutputStorer {
                        context: self.context,
                        handle: self.handle,
                        output: self.output,
                        datum: (index, datum),
                        time,
                    };
                    match storer.store(output, &mut totals).await? {
                        None => {
                            let end = DatumEnd {
                                outcome: DatumOutcome::Success,
                                tries: tries + 1,
                                exit_code: code,
                                reason: None,
                            };
                            return Ok(totals.into_result(datum, end, metrics));
                        }
                        Some(reason) => TryFailure::around_command(reason, code),
                    }
                }
            };
            tries += 1;
            metrics.failed_tries.inc();
            let line = format!("try {tries} of {allowed} failed: {}", failure.reason);
            self.log.add(Some(datum.id), false, line);
            if failure.by_command {
                recovered |= self.handle_error(slot, datum, &vars, &mut totals).await?;
            }
            last = Some(failure);
        }
        let outcome = if recovered {
            DatumOutcome::Recovered
        } else {
            DatumOutcome::Failed
        };
        let (reason, exit_code) = last.map_or((None, None), |failure| (Some(failure.reason), failure.code));
        let end = DatumEnd {
            outcome,
            tries,
            exit_code,
            reason,
        };
        Ok(totals.into_result(datum, end, metrics))
    }

    async fn try_once(
        &self,
        slot: &mut Slot,
        datum: &Arc<Datum>,
        vars: &[(String, String)],
        totals: &mut DatumTotals,
        losses: &mut u32,
    ) -> Result<TryOutcome, Interrupt> {
        self.check_stop()?;
        let spec = &self.plan.stage;
        let number = slot.index;
        let starter = &self.context.starter;
        if spec.new_stage_for_each_try {
            slot.stop_used().await;
        }
        let running = slot.ensure_stage(&stage_key(self.plan), spec, starter).await?;
        running.used = true;
        let begun = Instant::now();
        let env = environment::as_lines(vars);
        let storage = &self.context.storage;
        let laid_out = inputs::lay_out(storage, &running.workspace, datum, spec.writable_inputs, env).await;
        let bytes = match laid_out {
            Err(error) if error.is_about_a_name() => {
                let reason = format!("the input cannot be laid out under /pfs: {}", error_chain(&error));
                return Ok(TryOutcome::Failed(TryFailure::around_command(reason, None)));
            }
            other => other?,
        };
        totals.download += begun.elapsed();
        totals.download_bytes = bytes;

        // Restarts reach the datum only between these two calls. Before, nothing runs yet; after, the command has
        // ended, and a restart must not discard output that is being collected.
        let cancel = self.handle.begin_try(number, datum);
        let begun = Instant::now();
        // Not at the end of the former try: links in its output may lead to its temporary files.
        let command = (spec.cmd.as_slice(), &spec.stdin, BeforeCommand::EmptyTemporary);
        let ran = self.run(running, datum, vars, command, &cancel).await;
        self.handle.end_try(number);
        totals.process += begun.elapsed();
        let (outcome, stderr_tail) = match ran {
            Ok(ended) => ended,
            Err(error) => {
                *losses += 1;
                slot.stop().await;
                return self.judge_loss(datum, error, *losses);
            }
        };
        let code = match &outcome {
            RunOutcome::Exited(code) => Some(*code),
            RunOutcome::Cancelled => {
                // The same token serves stops and restarts: a stop is checked first, or a stopped set would try again.
                self.check_stop()?;
                self.log.add(Some(datum.id), false, "begun again on request".to_owned());
                return Ok(TryOutcome::NotCounted);
            }
            // A new stage never answers this: nothing has run in it. So the loop ends.
            RunOutcome::NotEmptied(why) => {
                self.context.metrics.stages_replaced.inc();
                let line = format!("begun in a new container, because files of an earlier datum are left: {why}");
                self.log.add(Some(datum.id), false, line);
                slot.stop().await;
                return Ok(TryOutcome::NotCounted);
            }
            _ => None,
        };
        if !is_accepted(spec, &outcome) {
            self.check_disk(&stderr_tail)?;
            return Ok(TryOutcome::Failed(TryFailure {
                reason: failure_messages::of_run(spec, &outcome, &stderr_tail),
                code,
                by_command: true,
            }));
        }
        let stop = self.handle.stop_token();
        let time = OutputTime::begin(stop, spec.datum_timeout_ms.map(Duration::from_millis));
        let begun = Instant::now();
        let limits = self.context.output_limits;
        let collected = collect_output(&mut *running.stage, &running.workspace, spec, limits, &time, stop).await;
        totals.upload += begun.elapsed();
        match collected {
            Ok(output) => {
                let left_out = &output.left_out;
                if !left_out.is_empty() {
                    self.context.metrics.output_left_out.inc_by(left_out.count());
                    let line = format!("{} left out of the output: {left_out}", left_out.count());
                    self.log.add(Some(datum.id), false, line);
                }
                Ok(TryOutcome::Succeeded { code, output, time })
            }
            Err(CollectError::Infra(error)) => Err(Interrupt::Infra(error)),
            Err(CollectError::Cancelled) => {
                self.check_stop()?;
                Ok(TryOutcome::NotCounted)
            }
            Err(CollectError::StageLost(error)) => {
                slot.stop().await;
                Err(Interrupt::Infra(InfraError::Runtime(error)))
            }
            Err(CollectError::Rejected(reason)) => {
                self.check_disk(&reason)?;
                Ok(TryOutcome::Failed(TryFailure::around_command(reason, code)))
            }
        }
    }

    /// Decides what a lost stage means for the try.
    ///
    /// The first loss may be the machine's fault and does not count. Repeated losses under one datum are the datum's
    /// fault, unless the engine itself fails.
    fn judge_loss(&self, datum: &Datum, error: RuntimeError, losses: u32) -> Result<TryOutcome, Interrupt> {
        let uncounted = losses <= UNCOUNTED_LOSSES;
        match error {
            RuntimeError::StageLost { .. } if !uncounted || self.delivered > UNCOUNTED_DELIVERIES => {
                let reason = failure_messages::of_loss(&error);
                Ok(TryOutcome::Failed(TryFailure::around_command(reason, None)))
            }
            _ if !uncounted => Err(Interrupt::Infra(InfraError::Runtime(error))),
            _ => {
                let line = format!("begun again: {}", error_chain(&error));
                self.log.add(Some(datum.id), false, line);
                Ok(TryOutcome::NotCounted)
            }
        }
    }

    /// Runs the error handler in the folders of the failed try; returns whether it succeeded.
    async fn handle_error(
        &self,
        slot: &mut Slot,
        datum: &Arc<Datum>,
        vars: &[(String, String)],
        totals: &mut DatumTotals,
    ) -> Result<bool, Interrupt> {
        let spec = &self.plan.stage;
        let Some(err_cmd) = spec.err_cmd.as_ref().filter(|cmd| !cmd.is_empty()) else {
            return Ok(false);
        };
        let starter = &self.context.starter;
        let running = slot.ensure_stage(&stage_key(self.plan), spec, starter).await?;
        let begun = Instant::now();
        let stop = self.handle.stop_token();
        let command = (err_cmd.as_slice(), &spec.err_stdin, BeforeCommand::Nothing);
        let ran = self.run(running, datum, vars, command, stop).await;
        totals.process += begun.elapsed();
        match ran {
            Ok((RunOutcome::Cancelled, _)) => {
                self.check_stop()?;
                Ok(false)
            }
            Ok((outcome, _)) if is_accepted(spec, &outcome) => Ok(true),
            Ok((outcome, stderr_tail)) => {
                let why = failure_messages::of_run(spec, &outcome, &stderr_tail);
                self.log
                    .add(Some(datum.id), false, format!("error handler failed: {why}"));
                Ok(false)
            }
            Err(error) => {
                slot.stop().await;
                let why = format!("error handler lost: {}", error_chain(&error));
                self.log.add(Some(datum.id), false, why);
                Ok(false)
            }
        }
    }

    /// Runs a command in a prepared stage; returns how it ended and the end of its standard error.
    async fn run(
        &self,
        running: &mut RunningStage,
        datum: &Datum,
        vars: &[(String, String)],
        (argv, stdin, before): (&[String], &Option<Vec<String>>, BeforeCommand),
        cancel: &CancellationToken,
    ) -> Result<(RunOutcome, String), RuntimeError> {
        let spec = &self.plan.stage;
        if argv.is_empty() {
            let text = "there is nothing to run: transform.cmd is empty".to_owned();
            return Ok((RunOutcome::SpawnFailed(text), String::new()));
        }
        let user = spec.user.as_deref().or(running.stage.image_user());
        let request = RunRequest {
            argv: argv.to_vec(),
            env: environment::of_command(running.stage.image_env(), vars, user),
            cwd: spec.working_dir.clone(),
            user: spec.user.clone(),
            stdin: stdin_bytes(stdin),
            timeout: spec.datum_timeout_ms.map(Duration::from_millis),
            empty_first: matches!(before, BeforeCommand::EmptyTemporary),
        };
        let mut lines = LineSplitter::new(self.log, datum.id);
        let outcome = running
            .stage
            .run(request, &mut |stream, bytes| lines.push(stream, bytes), cancel)
            .await;
        // Before the error is returned: the last lines of a lost container often say why it was lost.
        let (count, stderr_tail) = lines.finish();
        self.context.metrics.log_lines.inc_by(count);
        Ok((outcome?, stderr_tail))
    }

    /// Returns an interrupt if a failure that mentions a full disk happened because the scratch disk is full.
    fn check_disk(&self, text: &str) -> Result<(), Interrupt> {
        const ROOM_BYTES: u64 = 64 << 20;
        if !text.contains("No space left on device") {
            return Ok(());
        }
        let storage = &self.context.storage;
        let free = storage.scratch.free_bytes().unwrap_or(u64::MAX);
        if free >= ROOM_BYTES {
            return Ok(());
        }
        Err(Interrupt::Infra(storage.scratch_full(ROOM_BYTES)))
    }

    fn check_stop(&self) -> Result<(), Interrupt> {
        self.handle
            .stop_reason()
            .map_or(Ok(()), |reason| Err(Interrupt::Stopped(reason)))
    }
}

/// Returns whether a command ended with exit code 0 or one that the pipeline accepts.
fn is_accepted(spec: &StageSpec, outcome: &RunOutcome) -> bool {
    match outcome {
        RunOutcome::Exited(0) => true,
        RunOutcome::Exited(code) => spec.accept_return_code.contains(&i64::from(*code)),
        _ => false,
    }
}

/// Joins lines to the bytes of standard input, each with a newline at its end.
fn stdin_bytes(lines: &Option<Vec<String>>) -> Option<Vec<u8>> {
    let lines = lines.as_ref().filter(|lines| !lines.is_empty())?;
    let mut text = lines.join("\n");
    text.push('\n');
    Some(text.into_bytes())
}
