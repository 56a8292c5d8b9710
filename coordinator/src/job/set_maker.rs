//! From the steps of a plan to datum sets.

use futures::TryStreamExt;
use futures::stream::BoxStream;
use howdah_model::{DatumId, PipelineVersion};
use howdah_protocol::objects::{DatumSet, SetConcurrency};
use howdah_store::Store;

use super::error::DriveError;
use super::plan::{self, BaseJob, LOOK_AHEAD, MergePlan, PlanError, PlanStep, SetSplitter};

/// Turns the steps of a plan into datum sets, and counts what the merge plan needs.
pub struct SetMaker {
    /// Steps that were looked at ahead.
    known: std::vec::IntoIter<PlanStep>,
    /// Steps after them; `None` when there are none.
    steps: Option<BoxStream<'static, Result<PlanStep, PlanError>>>,
    splitter: SetSplitter,
    dropped: Vec<DatumId>,
    to_do: u64,
    sets: u32,
    /// Whether the steps looked at ahead have a datum to run.
    has_work: bool,
}

impl SetMaker {
    /// Looks at the first datums: all of them, unless there are more than [`LOOK_AHEAD`].
    pub async fn look_ahead(
        mut steps: BoxStream<'static, Result<PlanStep, PlanError>>,
        version: &PipelineVersion,
        concurrency: SetConcurrency,
    ) -> Result<Self, PlanError> {
        let mut first = Vec::new();
        let mut runs = 0;
        let mut more = true;
        while runs < LOOK_AHEAD && more {
            match steps.try_next().await? {
                Some(step) => {
                    runs += usize::from(matches!(step, PlanStep::Run { .. }));
                    first.push(step);
                }
                None => more = false,
            }
        }
        let spec = &version.spec;
        Ok(SetMaker {
            known: first.into_iter(),
            steps: more.then_some(steps),
            splitter: SetSplitter::new(
                spec.datum_set_spec.as_ref(),
                spec.parallelism,
                concurrency,
                runs as u64,
                !more,
            ),
            dropped: Vec::new(),
            to_do: 0,
            sets: 0,
            has_work: runs > 0,
        })
    }

    /// Tells whether there is a datum to run.
    pub fn has_work(&self) -> bool {
        self.has_work
    }

    /// Tells whether it is certain, without finding more datums, that no further set comes.
    pub fn is_over(&self) -> bool {
        self.steps.is_none()
            && !self
                .known
                .as_slice()
                .iter()
                .any(|step| matches!(step, PlanStep::Run { .. }))
    }

    /// Returns how many datums of the base the plan drops at most, if no further set comes.
    pub fn most_dropped(&self) -> usize {
        self.dropped.len() + self.known.len()
    }

    async fn next_step(&mut self) -> Result<Option<PlanStep>, PlanError> {
        if let Some(step) = self.known.next() {
            return Ok(Some(step));
        }
        match &mut self.steps {
            Some(steps) => steps.try_next().await,
            None => Ok(None),
        }
    }

    /// Returns the next set; `None` when no datum remains.
    pub async fn next(&mut self) -> Result<Option<DatumSet>, DriveError> {
        let mut datums = Vec::new();
        while let Some(step) = self.next_step().await? {
            match step {
                PlanStep::Drop(id) => self.dropped.push(id),
                PlanStep::Run { datum, replaces } => {
                    self.dropped.extend(replaces.then_some(datum.id));
                    let size = datum.inputs.iter().map(|input| input.size).sum();
                    datums.push(datum);
                    if self.splitter.push(size) {
                        break;
                    }
                }
            }
        }
        if datums.is_empty() {
            return Ok(None);
        }
        self.to_do += datums.len() as u64;
        let set = self.sets;
        self.sets = set
            .checked_add(1)
            .ok_or_else(|| DriveError::Mismatch("more datum sets than one job may have".to_owned()))?;
        Ok(Some(DatumSet { set, datums }))
    }

    /// Returns the merge plan, once no further set comes. The steps that remain are then datums that are gone.
    pub async fn into_merge_plan(mut self, store: &Store, base: Option<BaseJob>) -> Result<MergePlan, PlanError> {
        while let Some(PlanStep::Drop(id)) = self.known.next() {
            self.dropped.push(id);
        }
        let before = match &base {
            Some(base) => plan::datum_count(store, &base.datums).await?,
            None => 0,
        };
        // Readers of the plan search it by bisection.
        self.dropped.sort_unstable();
        Ok(MergePlan {
            base,
            skipped: before.saturating_sub(self.dropped.len() as u64),
            dropped: self.dropped,
            to_do: self.to_do,
            sets: self.sets,
        })
    }
}
