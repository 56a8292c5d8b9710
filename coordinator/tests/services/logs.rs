//! Log lines of jobs.

use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, JobKey};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject, log_key};
use howdah_protocol::wire;
use jiff::Timestamp;
use tonic::Code;

use super::pipeline_helpers::{edges_key, finish, only_job, with_pipeline};
use super::{all, next};

fn line(message: &str, datum: Option<DatumId>) -> LogLine {
    LogLine {
        ts: Timestamp::now(),
        datum,
        user: true,
        message: message.into(),
    }
}

#[tokio::test]
async fn lines_are_read_from_the_store_and_followed() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let datum = finish(&server, id).await;
    let key = edges_key();
    let object = LogObject {
        pipeline: key.clone(),
        job: id,
        set: 0,
        worker: "w".into(),
        run: None,
        lines: vec![line("one", Some(datum)), line("two", None)],
        dropped: 0,
    };
    let stored = log_key(&key, &id, 0, "w");
    server
        .core
        .store()
        .put(&stored, wire::encode(&object).into())
        .await
        .unwrap();

    let request = |change: fn(&mut pps::GetLogsRequest)| {
        let mut request = pps::GetLogsRequest {
            job: Some(job.clone()),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let texts = async |request| -> Vec<String> {
        let lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
        all(lines).await.unwrap().into_iter().map(|line| line.message).collect()
    };
    assert_eq!(texts(request(|_| {})).await, ["one", "two"]);
    assert_eq!(texts(request(|request| request.tail = 1)).await, ["two"]);
    let by_path = request(|request| request.data_filters = vec!["/one".into()]);
    assert_eq!(texts(by_path).await, ["one"]);
    let by_other_path = request(|request| request.data_filters = vec!["/other".into()]);
    assert_eq!(texts(by_other_path).await, Vec::<String>::new());

    // The lines of a set that is just being stored are pending, too.
    let batch = LogBatch {
        pipeline: key.clone(),
        job: id,
        set: 0,
        worker: "w".into(),
        run: None,
        stored: false,
        lines: object.lines.clone(),
    };
    server.core.live().logs.add(key.job(id), batch, true);
    assert_eq!(texts(request(|_| {})).await, ["one", "two"]);

    let follow = request(|request| request.follow = true);
    let mut lines = server.client.pps().get_logs(follow).await.unwrap().into_inner();
    for expected in ["one", "two"] {
        assert_eq!(next(&mut lines).await.unwrap().unwrap().message, expected);
    }
    let batch = LogBatch {
        pipeline: key.clone(),
        job: id,
        set: 1,
        worker: "w".into(),
        run: None,
        stored: false,
        lines: vec![line("three", None)],
    };
    let job_key: JobKey = key.job(id);
    server.core.live().logs.add(job_key, batch, true);
    let message = next(&mut lines).await.unwrap().unwrap();
    assert_eq!(message.message, "three");
    assert_eq!(
        (message.pipeline_name.as_str(), message.worker_id.as_str()),
        ("edges", "w")
    );

    let status = server
        .client
        .pps()
        .get_logs(pps::GetLogsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
