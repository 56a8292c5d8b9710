//! The server is killed, its store vanishes, or JetStream is off: the queue recovers or reports it.

#![expect(clippy::large_futures, reason = "tests are not hot")]

use std::error::Error;

use crate::common::{PATIENCE, job, message, on_every_server, pipeline, take};
use howdah_queue::testing::{NatsServer, coordinator, executables, installation, worker};
use howdah_queue::{PullError, Queue, QueueError, QueueOptions};

#[tokio::test]
async fn a_killed_and_wiped_server_is_filled_again() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        let mut stream_epoch = queue.stream_epoch();
        stream_epoch.mark_unchanged();
        let mut puller = queue.datums(&edges).await.unwrap();
        take(&mut puller).await;

        {
            let mut server = server.lock().unwrap();
            server.kill();
            server.wipe();
            server.restart();
        }
        tokio::time::timeout(PATIENCE, stream_epoch.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(queue.served_pipelines().await.unwrap(), vec![]);
        assert!(matches!(
            tokio::time::timeout(PATIENCE, puller.next()).await.unwrap(),
            Err(PullError::NoConsumer { .. })
        ));

        // What the coordinator does when the stream epoch rises.
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        assert_eq!(take(&mut puller).await.set.set, 0);
    })
    .await;
}

#[tokio::test]
async fn a_restarted_server_keeps_its_sets() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let mut stream_epoch = queue.stream_epoch();
        stream_epoch.mark_unchanged();
        let mut puller = queue.datums(&edges).await.unwrap();
        server.lock().unwrap().restart();
        tokio::time::timeout(PATIENCE, stream_epoch.changed())
            .await
            .unwrap()
            .unwrap();
        puller.reset();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        assert_eq!(take(&mut puller).await.set.set, 0);
    })
    .await;
}

#[tokio::test]
async fn a_store_wiped_under_a_running_server_is_rebuilt() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        server.lock().unwrap().wipe();

        // Some servers accept sets and can never deliver them. The coordinator has its own connection; its stream
        // epoch rises when the worker rebuilds the stream.
        let url = server.lock().unwrap().url();
        let coordinator = coordinator(&url).await;
        let mut reports = coordinator.stalled_reports().await.unwrap();
        let rebuilding = async {
            while let Some(report) = reports.next().await {
                coordinator.rebuild_if_stalled(&report).await.unwrap();
            }
        };
        let filling = async {
            let mut stream_epoch = coordinator.stream_epoch();
            for attempt in 1.. {
                coordinator.ensure_streams().await.unwrap();
                let mut set = message(&edges, job(1), 1);
                set.attempt = attempt;
                let consumer = coordinator.ensure_consumer(&edges, 4).await;
                if consumer.is_ok() && coordinator.publish_set(&set).await.is_ok() {
                    stream_epoch.changed().await.unwrap();
                }
            }
        };
        let working = async {
            let worker = worker(&url, "w").await;
            let mut stream_epoch = worker.stream_epoch();
            let mut puller = worker.datums(&edges).await.unwrap();
            loop {
                tokio::select! {
                    _ = stream_epoch.changed() => puller.reset(),
                    next = puller.next() => match next {
                        Ok(delivery) if delivery.set.set == 1 => break delivery,
                        Ok(older) => older.ack().await.unwrap(),
                        Err(PullError::Stalled(report)) => worker.report_stalled(&report).await.unwrap(),
                        Err(_) => {}
                    }
                }
            }
        };
        let delivery = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                () = filling => unreachable!("goes on for ever"),
                () = rebuilding => unreachable!("goes on for ever"),
                delivery = working => delivery,
            }
        })
        .await
        .expect("the set was not delivered");
        delivery.ack().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn publishing_creates_a_missing_stream() {
    for executable in executables() {
        let server = NatsServer::start_with(&executable, &[]);
        let queue = coordinator(&server.url()).await;
        let before = *queue.stream_epoch().borrow();
        let edges = pipeline("edges");
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        assert!(*queue.stream_epoch().borrow() > before);
        queue.ensure_consumer(&edges, 1).await.unwrap();
        take(&mut queue.datums(&edges).await.unwrap()).await;
    }
}

#[tokio::test]
async fn errors_have_a_remedy_and_no_text_twice() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let url = format!("nats://joe:secret@127.0.0.1:{port}");
    let options = |url: &str| QueueOptions::coordinator(url, installation());
    let error = Queue::connect(&options(&url)).await.err().unwrap();
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "cannot connect to NATS at nats://127.0.0.1:{port}: \
             is nats-server running there (with -js)?"
        )
    );
    let cause = error.source().unwrap();
    assert!(cause.source().is_none(), "the chain ends with the client's text");
    assert!(!cause.to_string().contains("secret"));

    let error = Queue::connect(&options("http://joe:secret@here")).await.err().unwrap();
    assert!(
        matches!(&error, QueueError::Address { url, .. } if url == "http://here"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_without_jetstream_is_recognised() {
    for executable in executables() {
        let server = NatsServer::start_without_jetstream(&executable);
        let queue = coordinator(&server.url()).await;
        let error = queue.ensure_streams().await.unwrap_err();
        assert!(matches!(error, QueueError::JetStreamOff), "{error:?}");
    }
}
