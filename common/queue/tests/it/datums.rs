//! Publication, delivery and acknowledgement of datum sets, against real servers.

use crate::common::{PATIENCE, job, message, nothing_comes, on_every_server, pipeline, take};
use howdah_model::ids::{DatumHash, DatumId};
use howdah_protocol::objects::{Datum, DatumSet};
use howdah_queue::{ConsumerStatus, PublishOutcome, PullError};

#[tokio::test]
async fn a_set_is_delivered_and_removed_once_acknowledged() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let sent = message(&edges, job(1), 7);
        assert_eq!(queue.publish_set(&sent).await.unwrap(), PublishOutcome::Stored);

        let mut puller = queue.datums(&edges).await.unwrap();
        let delivery = take(&mut puller).await;
        assert_eq!(delivery.set, sent);
        assert_eq!(delivery.delivered, 1);
        let status = queue.consumer_info(&edges).await.unwrap().unwrap();
        assert_eq!((status.pending, status.ack_pending), (0, 1));

        delivery.in_progress().await.unwrap();
        delivery.ack().await.unwrap();
        let idle = ConsumerStatus {
            max_ack_pending: 4,
            delivered: 1,
            created: status.created.clone(),
            ..ConsumerStatus::default()
        };
        // The server handles acknowledgements in the background.
        tokio::time::timeout(PATIENCE, async {
            while queue.consumer_info(&edges).await.unwrap().as_ref() != Some(&idle) {}
        })
        .await
        .expect("the set is not acknowledged");
    })
    .await;
}

#[tokio::test]
async fn the_same_set_published_twice_is_one_until_its_attempt_rises() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let set = message(&edges, job(1), 0);
        assert_eq!(queue.publish_set(&set).await.unwrap(), PublishOutcome::Stored);
        assert_eq!(queue.publish_set(&set).await.unwrap(), PublishOutcome::Duplicate);
        let again = howdah_protocol::messages::SetMessage { attempt: 1, ..set };
        assert_eq!(queue.publish_set(&again).await.unwrap(), PublishOutcome::Stored);
    })
    .await;
}

#[tokio::test]
async fn a_big_set_is_named_by_its_key() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let datum = Datum {
            id: DatumId::new([1; 32]),
            hash: DatumHash::new([2; 32]),
            inputs: Vec::new(),
            slices: Vec::new(),
        };
        for (count, inline) in [(10, true), (10_000, false)] {
            let mut sent = message(&edges, job(count), 0);
            sent.inline = Some(DatumSet {
                set: 0,
                datums: vec![datum.clone(); count as usize],
            });
            queue.publish_set(&sent).await.unwrap();
            let mut puller = queue.datums(&edges).await.unwrap();
            let delivery = take(&mut puller).await;
            delivery.ack().await.unwrap();
            assert_eq!(delivery.set.inline.is_some(), inline);
            assert_eq!((delivery.set.plan, delivery.set.set), (sent.plan, sent.set));
        }
    })
    .await;
}

#[tokio::test]
async fn parallelism_limits_the_delivered_sets() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 1).await.unwrap();
        let sets = [message(&edges, job(1), 0), message(&edges, job(1), 1)];
        queue.publish_sets(&sets).await.unwrap();

        let mut puller = queue.datums(&edges).await.unwrap();
        let first = take(&mut puller).await;
        assert_eq!(first.set.set, 0);
        assert!(nothing_comes(&queue, &mut puller).await);

        queue.ensure_consumer(&edges, 2).await.unwrap();
        let second = take(&mut puller).await;
        assert_eq!(second.set.set, 1);
    })
    .await;
}

#[tokio::test]
async fn a_set_given_back_is_delivered_again() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        let mut one = queue.datums(&edges).await.unwrap();
        let mut other = queue.datums(&edges).await.unwrap();
        take(&mut one).await.nak(None).await.unwrap();
        let again = take(&mut other).await;
        assert_eq!(again.delivered, 2);
    })
    .await;
}

#[tokio::test]
async fn a_set_of_an_abandoned_request_is_still_received() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let mut puller = queue.datums(&edges).await.unwrap();
        assert!(nothing_comes(&queue, &mut puller).await);
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        let arrived = tokio::time::timeout(PATIENCE, puller.arrived()).await.unwrap();
        assert_eq!(arrived.unwrap().set.set, 0);
    })
    .await;
}

#[tokio::test]
async fn purge_job_removes_the_sets_of_that_job_only() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let sets = [message(&edges, job(1), 0), message(&edges, job(2), 0)];
        queue.publish_sets(&sets).await.unwrap();
        queue.purge_job(&edges, &job(1)).await.unwrap();
        let mut puller = queue.datums(&edges).await.unwrap();
        assert_eq!(take(&mut puller).await.set.job, job(2));
        assert!(nothing_comes(&queue, &mut puller).await);
    })
    .await;
}

#[tokio::test]
async fn workers_see_the_pipelines_with_a_consumer() {
    on_every_server(|_server, queue| async move {
        let mut wake_ups = queue.wake_ups().await.unwrap();
        let (edges, montage) = (pipeline("edges"), pipeline("montage"));
        queue.ensure_consumer(&montage, 1).await.unwrap();
        queue.ensure_consumer(&edges, 1).await.unwrap();
        wake_ups.next().await.unwrap();
        let all = vec![edges.clone(), montage.clone()];
        assert_eq!(queue.served_pipelines().await.unwrap(), all);

        let mut puller = queue.datums(&edges).await.unwrap();
        assert!(nothing_comes(&queue, &mut puller).await);
        queue.delete_consumer(&edges).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, puller.next()).await.unwrap();
        assert!(matches!(ended, Err(PullError::NoConsumer { .. })));
        assert_eq!(queue.served_pipelines().await.unwrap(), vec![montage]);
        assert_eq!(queue.consumer_info(&edges).await.unwrap(), None);
        // A second deletion succeeds: the coordinator repeats it after a crash.
        queue.delete_consumer(&edges).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn many_sets_arrive_in_order() {
    on_every_server(|_server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 1000).await.unwrap();
        let sets: Vec<_> = (0..600).map(|n| message(&edges, job(1), n)).collect();
        assert_eq!(queue.publish_sets(&sets).await.unwrap().len(), 600);
        let mut puller = queue.datums(&edges).await.unwrap();
        for expected in 0..600 {
            let delivery = take(&mut puller).await;
            delivery.ack().await.unwrap();
            assert_eq!(delivery.set.set, expected);
        }
    })
    .await;
}
