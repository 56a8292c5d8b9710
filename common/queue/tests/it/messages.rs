//! Messages that no stream keeps, against real servers.

use std::time::Duration;

use crate::common::{Stranger, job, message, on_every_server, pipeline, take};
use howdah_model::entities::ImagePin;
use howdah_model::ids::DatumId;
use howdah_protocol::messages::{
    CancelJob, Control, LogBatch, Presence, ResolveImage, ResolvedImage, RestartDatum, SetDone, SetEvent, SetFailed,
    SetFailure, SlotStatus,
};
use howdah_protocol::objects::{LogLine, PlanId};
use howdah_queue::{PullError, QueueError};
use jiff::Timestamp;

#[tokio::test]
async fn set_events_presence_logs_and_controls_arrive_as_sent() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        let mut events = queue.set_events().await.unwrap();
        let done = SetEvent::Done(SetDone {
            pipeline: edges.clone(),
            job: job(1),
            plan: PlanId::from_random(5),
            set: 3,
            worker: "w".into(),
            result: None,
        });
        let failed = SetEvent::Failed(SetFailed {
            pipeline: edges.clone(),
            job: job(1),
            plan: PlanId::EARLIER,
            set: 3,
            worker: "w".into(),
            message: "disk full".into(),
            needs_attention: false,
            failure: SetFailure::default(),
            retry_ms: None,
        });
        queue.publish_set_event(&done).await.unwrap();
        queue.publish_set_event(&failed).await.unwrap();
        assert_eq!(events.next().await, Some(done));
        assert_eq!(events.next().await, Some(failed));

        let mut presences = queue.presence().await.unwrap();
        let presence = Presence {
            worker: "w".into(),
            host: "h".into(),
            version: "1".into(),
            runtime: "scripted".into(),
            slots: 2,
            busy: vec![SlotStatus {
                pipeline: edges.clone(),
                job: job(1),
                set: 0,
                datum: Some(DatumId::new([7; 32])),
                started: Timestamp::UNIX_EPOCH,
                done: 1,
                total: 5,
                note: None,
            }],
            pipelines: vec![],
            started: Timestamp::UNIX_EPOCH,
            leaving: false,
        };
        queue.publish_presence(&presence).await.unwrap();
        assert_eq!(presences.next().await, Some(presence));

        let mut logs = queue.logs(Some(&edges)).await.unwrap();
        let batch = |pipeline: &str| LogBatch {
            pipeline: crate::common::pipeline(pipeline),
            job: job(1),
            set: 0,
            worker: "w".into(),
            run: None,
            stored: false,
            lines: vec![LogLine {
                ts: Timestamp::UNIX_EPOCH,
                datum: None,
                user: true,
                message: "hello".into(),
            }],
        };
        queue.publish_logs(&batch("other")).await.unwrap();
        queue.publish_logs(&batch("edges")).await.unwrap();
        assert_eq!(logs.next().await, Some(batch("edges")));

        let mut controls = queue.controls().await.unwrap();
        let cancel = CancelJob {
            pipeline: edges.clone(),
            job: job(1),
            plan: Some(PlanId::from_random(5)),
        };
        let restart = RestartDatum {
            pipeline: edges.clone(),
            job: job(1),
            filters: vec!["/a".into()],
        };
        queue.cancel_job(&cancel).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel)));
        queue.restart_datums(&restart).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Restart(restart)));
    })
    .await;
}

#[tokio::test]
async fn one_worker_resolves_an_image() {
    on_every_server(|_server, queue| async move {
        let asked = ResolveImage {
            image: "alpine".into(),
            auth: None,
        };
        let patience = Duration::from_secs(30);
        let unanswered = queue.resolve_image(&asked, patience).await;
        assert!(matches!(unanswered, Err(QueueError::NoWorkers)));

        let mut requests = queue.resolve_requests().await.unwrap();
        let pinned = ResolvedImage::Pinned(ImagePin {
            reference: "alpine".into(),
            digest: "sha256:1".into(),
        });
        let answering = async {
            let request = requests.next().await.unwrap();
            assert_eq!(request.request, asked);
            request.answer(&pinned).await.unwrap();
        };
        let (answer, ()) = tokio::join!(queue.resolve_image(&asked, patience), answering);
        assert_eq!(answer.unwrap(), pinned);
        let silent = queue.resolve_image(&asked, Duration::from_millis(50)).await;
        assert!(matches!(silent, Err(QueueError::NoAnswer { .. })));
    })
    .await;
}

#[tokio::test]
async fn messages_of_another_release_are_refused_by_name() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let mut puller = queue.datums(&edges).await.unwrap();
        let mut presences = queue.presence().await.unwrap();

        let url = server.lock().unwrap().url();
        let stranger = Stranger::connect(&url).await;
        let newer = r#"{"kind":"datum_set_work","v":99,"body":{"shape":"unknown"}}"#;
        stranger
            .publish_sealed(&queue.names().datums(&edges, &job(1)), Some(1), newer)
            .await;
        stranger
            .publish_sealed(&queue.names().presence(), None, "garbage")
            .await;

        let Err(PullError::Unreadable { source, .. }) = puller.next().await else {
            panic!("expected a refusal");
        };
        assert_eq!(
            source.to_string(),
            "datum_set_work message has version 99, this program understands version 4: \
             run the same release of Howdah everywhere"
        );
        // Neither of them blocks the messages after it.
        queue.publish_set(&message(&edges, job(2), 0)).await.unwrap();
        assert_eq!(take(&mut puller).await.set.job, job(2));
        let leaving = Presence {
            worker: "w".into(),
            host: "h".into(),
            version: "1".into(),
            runtime: "scripted".into(),
            slots: 1,
            busy: vec![],
            pipelines: vec![],
            started: Timestamp::UNIX_EPOCH,
            leaving: true,
        };
        queue.publish_presence(&leaving).await.unwrap();
        assert_eq!(presences.next().await, Some(leaving));
    })
    .await;
}
