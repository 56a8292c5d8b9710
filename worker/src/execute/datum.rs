//! One datum: its tries, its error handler, its output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_protocol::objects::{Datum, DatumOutcome, DatumResult, DatumStats, JobPlan, OutputFile, StageSpec};
use tokio_util::sync::CancellationToken;

use crate::cache::file_cache::blocking;
use crate::context::Kit;
use crate::error::Trouble;
use crate::execute::environment;
use crate::execute::failure_messages;
use crate::execute::logs::{SetLog, Splitter};
use crate::intake::running_sets::{StopReason, Ticket};
use crate::pfs::collect_output::{GatherError, gather};
use crate::pfs::inputs;
use crate::pfs::output::{self, Bytes, Found};
use crate::pfs::set_output::SetOutput;
use crate::runtime::{RunOutcome, RunRequest, RuntimeError};
use crate::slots::{Slot, Warm, stage_key};
use howdah_telemetry::error_chain;

/// Times that a stage may be lost under one datum without counting as a try.
const LOSSES_BORNE: u32 = 1;
/// Deliveries of a set from which on every loss counts: it has come back often enough, and a datum
/// that ends its container must not go round for ever.
const DELIVERIES_BORNE: u64 = 2;
/// Big output files are read in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Why a set did not come to its end.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// It was told to stop.
    Stopped(StopReason),
    /// Infrastructure failed.
    Trouble(Trouble),
}

impl From<Trouble> for Interrupt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Everything that processing a datum needs besides the datum.
pub(crate) struct Work<'a> {
    pub kit: &'a Kit,
    pub plan: &'a JobPlan,
    pub log: &'a SetLog,
    pub ticket: &'a Ticket,
    pub output: &'a SetOutput,
    /// How often the set has been delivered, this time included.
    pub delivered: u64,
}

/// How one try ended.
enum Try {
    Succeeded {
        code: Option<i32>,
        found: Vec<Found>,
    },
    Failed(Failure),
    /// The stage was lost or somebody restarted the datum: does not count.
    Again,
}

struct Failure {
    reason: String,
    code: Option<i32>,
    /// The command itself failed, so that the error handler has its turn.
    by_command: bool,
}

/// What is summed up over the tries of a datum.
#[derive(Default)]
struct Sums {
    download: Duration,
    process: Duration,
    upload: Duration,
    download_bytes: u64,
    upload_bytes: u64,
}

impl Work<'_> {
    /// Processes a datum to its end. Output is complete only once the set's writers have finished.
    pub async fn process(&self, slot: &mut Slot, place: usize, datum: &Arc<Datum>) -> Result<DatumResult, Interrupt> {
        let vars = environment::of_datum(self.plan, datum, &self.kit.place);
        let mut sums = Sums::default();
        let (mut tries, mut losses, mut recovered) = (0, 0, false);
        let mut last: Option<Failure> = None;
        let allowed = self.plan.stage.datum_tries.max(1);
        while tries < allowed {
            match self.try_once(slot, datum, &vars, &mut sums, &mut losses).await? {
                Try::Again => continue,
                Try::Failed(failure) => {
                    tries += 1;
                    self.kit.metrics.failed_tries.inc();
                    let line = format!("try {tries} of {allowed} failed: {}", failure.reason);
                    self.log.add(Some(datum.id), false, line);
                    if failure.by_command {
                        recovered |= self.handle_error(slot, datum, &vars, &mut sums).await?;
                    }
                    last = Some(failure);
                }
                Try::Succeeded { code, found } => {
                    tries += 1;
                    match self.store(place, datum, found, &mut sums).await? {
                        None => {
                            let state = DatumOutcome::Success;
                            return Ok(self.result(datum, state, tries, code, None, sums));
                        }
                        Some(reason) => {
                            last = Some(Failure {
                                reason,
                                code,
                                by_command: false,
                            });
                        }
                    }
                }
            }
        }
        let state = if recovered {
            DatumOutcome::Recovered
        } else {
            DatumOutcome::Failed
        };
        let (reason, code) = last.map_or((None, None), |f| (Some(f.reason), f.code));
        Ok(self.result(datum, state, tries, code, reason, sums))
    }

    async fn try_once(
        &self,
        slot: &mut Slot,
        datum: &Arc<Datum>,
        vars: &[(String, String)],
        sums: &mut Sums,
        losses: &mut u32,
    ) -> Result<Try, Interrupt> {
        self.check_stop()?;
        let stage = &self.plan.stage;
        let number = slot.index;
        let warm = slot.ready(&stage_key(self.plan), stage, &self.kit.starter).await?;
        let begun = Instant::now();
        let env = environment::as_lines(vars);
        let laid_out = inputs::lay_out(self.kit, &warm.space, datum, stage.writable_inputs, env).await;
        let bytes = match laid_out {
            Err(trouble) if trouble.is_name_too_long() => {
                return Ok(Try::Failed(Failure {
                    reason: format!("the input cannot be laid out under /pfs: {}", error_chain(&trouble)),
                    code: None,
                    by_command: false,
                }));
            }
            other => other?,
        };
        sums.download += begun.elapsed();
        sums.download_bytes = bytes;

        let token = self.ticket.begin_try(number, datum);
        let begun = Instant::now();
        let ran = self.run(warm, datum, vars, &stage.cmd, &stage.stdin, &token).await;
        self.ticket.end_try(number);
        sums.process += begun.elapsed();
        let (outcome, tail) = match ran {
            Ok(done) => done,
            Err(error) => {
                *losses += 1;
                slot.stop().await;
                let borne = *losses <= LOSSES_BORNE;
                match error {
                    // It may have been the machine once. Not again and again under the same datum.
                    RuntimeError::StageLost { .. } if !borne || self.delivered > DELIVERIES_BORNE => {
                        return Ok(Try::Failed(Failure {
                            reason: failure_messages::of_loss(&error),
                            code: None,
                            by_command: false,
                        }));
                    }
                    _ if !borne => return Err(Interrupt::Trouble(Trouble::Runtime(error))),
                    _ => {}
                }
                self.log
                    .add(Some(datum.id), false, format!("begun again: {}", error_chain(&error)));
                return Ok(Try::Again);
            }
        };
        let code = match outcome {
            RunOutcome::Exited(code) => Some(code),
            RunOutcome::Cancelled => {
                self.check_stop()?;
                self.log.add(Some(datum.id), false, "begun again on request".to_owned());
                return Ok(Try::Again);
            }
            _ => None,
        };
        if !accepted(stage, &outcome) {
            self.check_disk(&tail)?;
            return Ok(Try::Failed(Failure {
                reason: failure_messages::of_run(stage, &outcome, &tail),
                code,
                by_command: true,
            }));
        }
        let begun = Instant::now();
        let gathered = gather(warm, stage, self.ticket.stop()).await;
        sums.upload += begun.elapsed();
        match gathered {
            Ok(found) => Ok(Try::Succeeded { code, found }),
            Err(GatherError::Trouble(trouble)) => Err(Interrupt::Trouble(trouble)),
            Err(GatherError::Cancelled) => {
                self.check_stop()?;
                Ok(Try::Again)
            }
            Err(GatherError::Lost(error)) => {
                slot.stop().await;
                Err(Interrupt::Trouble(Trouble::Runtime(error)))
            }
            Err(GatherError::Fault(reason)) => {
                self.check_disk(&reason)?;
                Ok(Try::Failed(Failure {
                    reason,
                    code,
                    by_command: false,
                }))
            }
        }
    }

    /// Runs the error handler in the same place; says whether it succeeded.
    async fn handle_error(
        &self,
        slot: &mut Slot,
        datum: &Arc<Datum>,
        vars: &[(String, String)],
        sums: &mut Sums,
    ) -> Result<bool, Interrupt> {
        let stage = &self.plan.stage;
        let Some(err_cmd) = stage.err_cmd.as_ref().filter(|cmd| !cmd.is_empty()) else {
            return Ok(false);
        };
        let warm = slot.ready(&stage_key(self.plan), stage, &self.kit.starter).await?;
        let begun = Instant::now();
        let stop = self.ticket.stop();
        let ran = self.run(warm, datum, vars, err_cmd, &stage.err_stdin, stop).await;
        sums.process += begun.elapsed();
        match ran {
            Ok((RunOutcome::Cancelled, _)) => {
                self.check_stop()?;
                Ok(false)
            }
            Ok((outcome, _)) if accepted(stage, &outcome) => Ok(true),
            Ok((outcome, tail)) => {
                let why = failure_messages::of_run(stage, &outcome, &tail);
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

    /// Runs a command in a prepared stage; returns how it ended and the end of its errors.
    async fn run(
        &self,
        warm: &mut Warm,
        datum: &Datum,
        vars: &[(String, String)],
        argv: &[String],
        stdin: &Option<Vec<String>>,
        cancel: &CancellationToken,
    ) -> Result<(RunOutcome, String), RuntimeError> {
        let stage = &self.plan.stage;
        if argv.is_empty() {
            let text = "there is nothing to run: transform.cmd is empty".to_owned();
            return Ok((RunOutcome::SpawnFailed(text), String::new()));
        }
        let user = stage.user.as_deref().or(warm.stage.image_user());
        let request = RunRequest {
            argv: argv.to_vec(),
            env: environment::of_command(warm.stage.image_env(), vars, user),
            cwd: stage.working_dir.clone(),
            user: stage.user.clone(),
            stdin: as_input(stdin),
            timeout: stage.datum_timeout_ms.map(Duration::from_millis),
        };
        let mut lines = Splitter::new(self.log, datum.id);
        let outcome = warm
            .stage
            .run(request, &mut |stream, bytes| lines.push(stream, bytes), cancel)
            .await;
        let (count, tail) = lines.finish();
        self.kit.metrics.log_lines.inc_by(count);
        Ok((outcome?, tail))
    }

    /// Hands output to a writer of the set; returns what is wrong with it, if anything.
    async fn store(
        &self,
        place: usize,
        datum: &Datum,
        found: Vec<Found>,
        sums: &mut Sums,
    ) -> Result<Option<String>, Interrupt> {
        const DOING: &str = "cannot store the output of a datum";
        let begun = Instant::now();
        // References first: only they can still be at fault, and nothing is written then.
        let mut references = Vec::new();
        let mut new = Vec::with_capacity(found.len());
        for Found { path, bytes } in found {
            let Bytes::Input { input, path: inside } = bytes else {
                new.push((path, bytes));
                continue;
            };
            match inputs::content_of(self.kit, datum, &input, &inside).await? {
                Some(content) => references.push((place, OutputFile { path, content })),
                None => {
                    return Ok(Some(format!(
                        "link at /pfs/out{path}: {inside} is not a file of the input {input}"
                    )));
                }
            }
        }
        let mut into = self.output.take();
        for (path, bytes) in new {
            let begin = into.pack.begin((place, path.clone()));
            begin.await.map_err(Trouble::store(DOING))?;
            match bytes {
                Bytes::Read(bytes) => {
                    sums.upload_bytes += bytes.len() as u64;
                    let write = into.pack.write(&bytes);
                    write.await.map_err(Trouble::store(DOING))?;
                }
                Bytes::File(real) => {
                    let opened = blocking(move || output::open(&real)).await?;
                    let mut file = opened.map_err(Trouble::io("read the output", &path))?;
                    loop {
                        self.check_stop()?;
                        let read = blocking(move || output::read_piece(file, PIECE_BYTES)).await?;
                        let piece;
                        (file, piece) = read.map_err(Trouble::io("read the output", &path))?;
                        if piece.is_empty() {
                            break;
                        }
                        sums.upload_bytes += piece.len() as u64;
                        let write = into.pack.write(&piece);
                        write.await.map_err(Trouble::store(DOING))?;
                    }
                }
                Bytes::Input { .. } => {}
            }
            into.pack.end().await.map_err(Trouble::store(DOING))?;
        }
        sums.upload_bytes += references.iter().map(|(_, file)| file.content.size).sum::<u64>();
        into.references.extend(references);
        self.output.give_back(into);
        sums.upload += begun.elapsed();
        Ok(None)
    }

    /// Tells a full scratch disk from a fault of the command that met it.
    fn check_disk(&self, tail: &str) -> Result<(), Interrupt> {
        const ROOM_BYTES: u64 = 64 << 20;
        if !tail.contains("No space left on device") {
            return Ok(());
        }
        let free = self.kit.starter.scratch.free_bytes().unwrap_or(u64::MAX);
        if free >= ROOM_BYTES {
            return Ok(());
        }
        Err(Interrupt::Trouble(self.kit.scratch_full(ROOM_BYTES)))
    }

    fn check_stop(&self) -> Result<(), Interrupt> {
        self.ticket
            .reason()
            .map_or(Ok(()), |reason| Err(Interrupt::Stopped(reason)))
    }

    fn result(
        &self,
        datum: &Datum,
        state: DatumOutcome,
        tries: u32,
        exit_code: Option<i32>,
        reason: Option<String>,
        sums: Sums,
    ) -> DatumResult {
        let metrics = &self.kit.metrics;
        let label = match state {
            DatumOutcome::Success => "success",
            DatumOutcome::Failed => "failed",
            DatumOutcome::Recovered => "recovered",
        };
        metrics.datums.with_label_values(&[label]).inc();
        metrics.download_seconds.observe(sums.download.as_secs_f64());
        metrics.process_seconds.observe(sums.process.as_secs_f64());
        metrics.upload_seconds.observe(sums.upload.as_secs_f64());
        metrics.input_bytes.inc_by(sums.download_bytes);
        metrics.output_bytes.inc_by(sums.upload_bytes);
        DatumResult {
            id: datum.id,
            hash: datum.hash,
            state,
            tries,
            exit_code,
            reason,
            stats: DatumStats {
                download_ms: millis(sums.download),
                process_ms: millis(sums.process),
                upload_ms: millis(sums.upload),
                download_bytes: sums.download_bytes,
                upload_bytes: sums.upload_bytes,
            },
            outputs: Vec::new(),
        }
    }
}

fn accepted(stage: &StageSpec, outcome: &RunOutcome) -> bool {
    match outcome {
        RunOutcome::Exited(0) => true,
        RunOutcome::Exited(code) => stage.accept_return_code.contains(&i64::from(*code)),
        _ => false,
    }
}

/// Joins lines with newlines and ends them with one.
fn as_input(lines: &Option<Vec<String>>) -> Option<Vec<u8>> {
    let lines = lines.as_ref().filter(|lines| !lines.is_empty())?;
    let mut text = lines.join("\n");
    text.push('\n');
    Some(text.into_bytes())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
