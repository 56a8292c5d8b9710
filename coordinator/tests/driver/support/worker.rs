//! A scripted worker: what it stores and reports for a set that it is given.

use howdah_model::DatumHash;
use howdah_protocol::messages::{SetDone, SetEvent, SetFailed, SetFailure, SetMessage};
use howdah_protocol::objects::{
    DatumOutcome, DatumResult, DatumSet, DatumStats, OutputFile, SetResult, result_key, set_key,
};
use howdah_protocol::wire;
use jiff::Timestamp;

use super::World;
use super::pipeline::file_content;

impl World {
    /// Runs a set as a worker would: each datum writes one file with the path of its input. Stores the result and returns
    /// the event.
    pub(crate) async fn run(&self, message: &SetMessage) -> SetEvent {
        self.store_result(message, |datum| datum).await
    }

    /// Like [`World::run`], but the result is about datums with other hashes.
    pub(crate) async fn run_wrong_datums(&self, message: &SetMessage) -> SetEvent {
        let wrong = |mut datum: DatumResult| {
            datum.hash = DatumHash::new([0; 32]);
            datum
        };
        self.store_result(message, wrong).await
    }

    /// Returns the report that a worker could not run a set.
    pub(crate) fn fail(&self, message: &SetMessage, failure: SetFailure) -> SetEvent {
        SetEvent::Failed(SetFailed {
            pipeline: message.pipeline.clone(),
            job: message.job,
            plan: message.plan,
            set: message.set,
            worker: "w".to_owned(),
            message: "refused".to_owned(),
            needs_attention: false,
            failure,
            retry_ms: None,
        })
    }

    /// Like [`World::run`], but the user's command fails for each datum.
    pub(crate) async fn run_failing(&self, message: &SetMessage) -> SetEvent {
        let failed = |mut datum: DatumResult| {
            datum.state = DatumOutcome::Failed;
            datum.exit_code = Some(1);
            datum.outputs.clear();
            datum
        };
        self.store_result(message, failed).await
    }

    /// Runs every set that the queue has or gets, and hands over the events. Never returns.
    pub(crate) async fn work(&self, deliver: impl Fn(SetEvent)) {
        loop {
            let message = self.queue.take().await;
            deliver(self.run(&message).await);
        }
    }

    async fn store_result(&self, message: &SetMessage, change: impl Fn(DatumResult) -> DatumResult) -> SetEvent {
        let set: DatumSet = match &message.inline {
            Some(set) => set.clone(),
            None => {
                let key = set_key(&message.pipeline, &message.job, message.plan, message.set);
                wire::decode(&self.sound_store.get(&key).await.unwrap()).unwrap()
            }
        };
        let mut datums = Vec::new();
        for datum in &set.datums {
            let path = datum.inputs[0].path.to_string();
            let result = DatumResult {
                id: datum.id,
                hash: datum.hash,
                state: DatumOutcome::Success,
                tries: 1,
                exit_code: Some(0),
                reason: None,
                stats: DatumStats::default(),
                outputs: vec![OutputFile {
                    path: path.clone(),
                    content: file_content(&self.sound_store, &path).await,
                }],
            };
            datums.push(change(result));
        }
        let result = SetResult {
            set: set.set,
            worker: "w".to_owned(),
            worker_version: "1".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            datums,
            log_key: None,
        };
        let key = result_key(&message.pipeline, &message.job, message.plan, set.set);
        self.sound_store.put(&key, wire::encode(&result).into()).await.unwrap();
        SetEvent::Done(SetDone {
            pipeline: message.pipeline.clone(),
            job: message.job,
            plan: message.plan,
            set: set.set,
            worker: "w".to_owned(),
            result: None,
        })
    }
}
