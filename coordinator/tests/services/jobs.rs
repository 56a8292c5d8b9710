//! Jobs and datums.

use howdah_api::pps_v2 as pps;
use howdah_model::GlobalId;
use howdah_protocol::messages::{Presence, SlotStatus};
use jiff::Timestamp;
use tonic::{Code, Request};

use super::pipeline_helpers::{SPEC, create, edges, edges_key, finish, images, jobs, only_job, with_pipeline};
use super::{Server, all, code_and_text, head, next, repo, soon};

#[tokio::test]
async fn a_datum_has_its_inputs_its_image_and_its_times() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let datum = finish(&server, id).await;
    let request = pps::InspectDatumRequest {
        datum: Some(pps::Datum {
            job: Some(job.clone()),
            id: datum.to_string(),
        }),
    };
    let info = server.client.pps().inspect_datum(request).await.unwrap().into_inner();
    assert_eq!(info.state, pps::DatumState::Success as i32);
    assert_eq!(info.image_id, "sha256:abc");
    let file = info.data[0].file.clone().unwrap();
    assert_eq!(file.path, "/one");
    assert_eq!(file.commit.unwrap().repo, Some(repo("images")));
    assert_eq!(info.stats.unwrap().process_time.unwrap().seconds, 1);
    assert_eq!(info.pfs_state.unwrap().commit.unwrap().repo.unwrap().r#type, "meta");

    let unknown = pps::InspectDatumRequest {
        datum: Some(pps::Datum {
            job: Some(job.clone()),
            id: "00".repeat(32),
        }),
    };
    let status = server.client.pps().inspect_datum(unknown).await.unwrap_err();
    let text = format!("datum {} not found in job default/edges@{}", "00".repeat(32), job.id);
    assert_eq!(code_and_text(&status), (Code::Unknown, text.as_str()));

    let list = pps::ListDatumRequest {
        job: Some(job),
        ..Default::default()
    };
    let listed = server.client.pps().list_datum(list).await.unwrap().into_inner();
    assert_eq!(all(listed).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_wait_ends_when_the_job_does() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let mut pps = server.client.pps();
    let request = pps::InspectJobRequest {
        job: Some(job.clone()),
        wait: true,
        details: false,
    };
    let waiting = tokio::spawn(async move { pps.inspect_job(request).await });
    let mut pps = server.client.pps();
    let set = pps::InspectJobSetRequest {
        job_set: Some(pps::JobSet { id: job.id.clone() }),
        wait: true,
        details: false,
    };
    let mut set = pps.inspect_job_set(set).await.unwrap().into_inner();
    finish(&server, id).await;
    let info = soon(waiting).await.unwrap().unwrap().into_inner();
    assert_eq!(info.state, pps::JobState::JobSuccess as i32);
    let info = next(&mut set).await.unwrap().unwrap();
    assert_eq!(info.job, Some(job));
    assert!(next(&mut set).await.is_none());
}

#[tokio::test]
async fn a_job_shows_what_its_workers_do_until_they_are_gone() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let busy = |id| SlotStatus {
        pipeline: edges_key(),
        job: id,
        set: 0,
        datum: None,
        started: Timestamp::UNIX_EPOCH,
        done: 0,
        total: 1,
        note: None,
    };
    let heartbeat = |worker: &str| Presence {
        worker: worker.into(),
        host: "h".into(),
        version: "1".into(),
        runtime: "scripted".into(),
        slots: 2,
        // The second slot works for another job.
        busy: vec![busy(id), busy(GlobalId::from_number(1))],
        pipelines: Vec::new(),
        started: Timestamp::UNIX_EPOCH,
        leaving: false,
    };
    let shown = async || {
        let request = pps::InspectJobRequest {
            job: Some(job.clone()),
            wait: false,
            details: true,
        };
        let info = server.client.pps().inspect_job(request).await.unwrap().into_inner();
        let workers = info.details.unwrap().worker_status;
        let request = pps::InspectPipelineRequest {
            pipeline: Some(edges()),
            details: true,
        };
        let info = server
            .client
            .pps()
            .inspect_pipeline(request)
            .await
            .unwrap()
            .into_inner();
        let names: Vec<String> = workers.into_iter().map(|worker| worker.worker_id).collect();
        (names, info.details.unwrap().workers_available)
    };
    let workers = &server.core.live().workers;
    workers.record_heartbeat(heartbeat("a"));
    workers.record_heartbeat(heartbeat("b"));
    assert_eq!(shown().await, (vec!["a".to_owned(), "b".to_owned()], 1));
    workers.remove("a");
    assert_eq!(shown().await, (vec!["b".to_owned()], 1));
    workers.remove("b");
    assert_eq!(shown().await, (Vec::new(), 0));
}

#[tokio::test]
async fn jobs_are_filtered_by_program_and_by_version() {
    let server = with_pipeline().await;
    let (job, _) = only_job(&server).await;
    let stop = pps::StopJobRequest {
        job: Some(job.clone()),
        reason: String::new(),
    };
    server.client.pps().stop_job(stop.clone()).await.unwrap();
    server.client.pps().stop_job(stop).await.unwrap();
    let filtered = |jq: &str| pps::ListJobRequest {
        jq_filter: jq.into(),
        ..Default::default()
    };
    let killed = ".state == \"JOB_FAILURE\" or .state == \"JOB_KILLED\"";
    assert_eq!(jobs(&server, filtered(killed)).await.len(), 1);
    let succeeded = ".state == \"JOB_SUCCESS\"";
    assert_eq!(jobs(&server, filtered(succeeded)).await.len(), 0);

    create(&server, SPEC, true).await.unwrap();
    let with_history = |history| pps::ListJobRequest {
        pipeline: Some(edges()),
        history,
        ..Default::default()
    };
    assert_eq!(jobs(&server, with_history(0)).await.len(), 1);
    assert_eq!(jobs(&server, with_history(1)).await.len(), 2);
    assert_eq!(jobs(&server, with_history(-1)).await.len(), 2);
    let sets = server
        .client
        .pps()
        .list_job_set(pps::ListJobSetRequest::default())
        .await
        .unwrap();
    assert_eq!(all(sets.into_inner()).await.unwrap().len(), 2);

    let delete = pps::DeleteJobRequest { job: Some(job.clone()) };
    server.client.pps().delete_job(delete).await.unwrap();
    let inspect = pps::InspectJobRequest {
        job: Some(job.clone()),
        ..Default::default()
    };
    let status = server.client.pps().inspect_job(inspect).await.unwrap_err();
    let text = format!("jobs default/edges@{} not found", job.id);
    assert_eq!(code_and_text(&status), (Code::NotFound, text.as_str()));
}

#[tokio::test]
async fn a_filter_reaches_nothing_but_the_message_and_cannot_hold_the_server() {
    let server = with_pipeline().await;
    let deep = format!("{}.{}", "(".repeat(100_000), ")".repeat(100_000));
    let long = format!(".state == \"{}\"", "x".repeat(5000));
    let work = ["(.,.)"; 100].join("|");
    let hostile = [
        "error(env)",
        "halt",
        "def f: f; f",
        "[limit(9; repeat(1))]",
        "input",
        "$ENV",
    ];
    for filter in hostile.into_iter().chain([deep.as_str(), &long, &work]) {
        let request = pps::ListJobRequest {
            jq_filter: filter.to_owned(),
            ..Default::default()
        };
        let status = match server.client.pps().list_job(request).await {
            Ok(reply) => all(reply.into_inner()).await.unwrap_err(),
            Err(status) => status,
        };
        let shown: String = filter.chars().take(20).collect();
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
        assert!(status.message().contains("jqFilter"), "{shown}: {status}");
        let pipelines = pps::ListPipelineRequest {
            jq_filter: filter.to_owned(),
            ..Default::default()
        };
        let status = match server.client.pps().list_pipeline(pipelines).await {
            Ok(reply) => all(reply.into_inner()).await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
    }
}

#[tokio::test]
async fn datums_of_an_input_come_in_batches_of_the_wanted_size() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let steps = (0..50).map(|n| {
        let path: &'static str = Box::leak(format!("/{n}").into_boxed_str());
        super::add(path, "x")
    });
    server.modify(&head("images", "master"), steps.collect()).await.unwrap();

    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let ask = |number, start| {
        use pps::create_datum_request::Body;
        let body = if start {
            Body::Start(pps::StartCreateDatumRequest {
                input: Some(images()),
                number,
            })
        } else {
            Body::Continue(pps::ContinueCreateDatumRequest { number })
        };
        pps::CreateDatumRequest { body: Some(body) }
    };
    requests.send(ask(10, true)).await.unwrap();
    let mut datums = server
        .client
        .pps()
        .create_datum(Request::new(stream))
        .await
        .unwrap()
        .into_inner();
    let mut take = async |number| {
        for _ in 0..number {
            let info = next(&mut datums).await.unwrap().unwrap();
            assert_eq!(info.state, pps::DatumState::Unknown as i32);
        }
    };
    take(10).await;
    for (number, expected) in [(5, 5), (20, 20), (10, 10), (10, 5)] {
        requests.send(ask(number, false)).await.unwrap();
        take(expected).await;
    }
    // The server ends the call, although the client has not ended its side.
    assert!(next(&mut datums).await.is_none());

    let list = pps::ListDatumRequest {
        input: Some(images()),
        number: 3,
        ..Default::default()
    };
    let listed = server.client.pps().list_datum(list).await.unwrap().into_inner();
    let ids: Vec<String> = all(listed)
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.datum.unwrap().id)
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
}
