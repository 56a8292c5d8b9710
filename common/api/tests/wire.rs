//! Bytes as other clients send them, and as they expect them.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_api::{convert, pfs_v2, pps_v2, transaction_v2};
use prost::Message;

#[test]
fn fields_may_arrive_in_any_order() {
    // The Python SDK writes a commit's repo (3) before its id (2).
    let bytes = b"\x1a\x18\x0a\x06images\x12\x04user\x1a\x08\x0a\x06vision\x12\x02id";
    let commit = pfs_v2::Commit::decode(&bytes[..]).unwrap();
    assert_eq!(commit, convert::commit(convert::repo("vision", "images"), "id"));
}

#[test]
fn an_empty_raw_source_is_not_an_absent_one() {
    // add_file { path: "/a", raw: {} }
    let with_raw = b"\x12\x06\x0a\x02/a\x1a\x00";
    let request = pfs_v2::ModifyFileRequest::decode(&with_raw[..]).unwrap();
    let Some(pfs_v2::modify_file_request::Body::AddFile(add)) = request.body else {
        panic!("not an add_file: {request:?}");
    };
    assert_eq!(add.source, Some(pfs_v2::add_file::Source::Raw(Default::default())));
    // add_file { path: "/a" }
    let without = b"\x12\x04\x0a\x02/a";
    let request = pfs_v2::ModifyFileRequest::decode(&without[..]).unwrap();
    let Some(pfs_v2::modify_file_request::Body::AddFile(add)) = request.body else {
        panic!("not an add_file: {request:?}");
    };
    assert_eq!(add.source, None);
}

#[test]
fn file_data_is_carried_as_a_bytes_value() {
    let request = pfs_v2::ModifyFileRequest {
        body: Some(pfs_v2::modify_file_request::Body::AddFile(pfs_v2::AddFile {
            path: "/a".into(),
            datum: String::new(),
            source: Some(pfs_v2::add_file::Source::Raw("hey".into())),
        })),
    };
    assert_eq!(request.encode_to_vec(), b"\x12\x0b\x0a\x02/a\x1a\x05\x0a\x03hey");
}

#[test]
fn numbers_that_are_easy_to_get_wrong() {
    let list = pfs_v2::ListFileRequest {
        pagination_marker: Some(pfs_v2::File::default()),
        number: 1,
        ..Default::default()
    };
    assert_eq!(list.encode_to_vec(), b"\x1a\x00\x20\x01");
    let stop = pps_v2::StopJobRequest {
        reason: "x".into(),
        ..Default::default()
    };
    assert_eq!(stop.encode_to_vec(), b"\x1a\x01x");
    let rerun = pps_v2::RerunPipelineRequest {
        reprocess: true,
        ..Default::default()
    };
    assert_eq!(rerun.encode_to_vec(), b"\x78\x01");
    let stop = transaction_v2::TransactionRequest {
        stop_job: Some(pps_v2::StopJobRequest::default()),
        ..Default::default()
    };
    assert_eq!(stop.encode_to_vec(), b"\x52\x00");
    assert_eq!(pps_v2::JobState::JobUnrunnable as i32, 9);
    assert_eq!(pps_v2::PipelineState::PipelineCrashing as i32, 7);
    assert_eq!(pfs_v2::CommitState::Finished as i32, 4);
}

#[test]
fn services_have_the_paths_that_clients_call() {
    use howdah_api::json::DESCRIPTORS;
    for (service, method) in [
        ("pfs_v2.API", "ModifyFile"),
        ("pps_v2.API", "CreatePipelineV2"),
        ("transaction_v2.API", "BatchTransaction"),
        ("versionpb_v2.API", "GetVersion"),
        ("admin_v2.API", "InspectCluster"),
        ("metadata.API", "EditMetadata"),
        ("storage.Fileset", "CreateFileset"),
        ("debug_v2.Debug", "DumpV2"),
        ("auth_v2.API", "WhoAmI"),
        ("pachyderm.worker.Worker", "NextDatum"),
    ] {
        let service = DESCRIPTORS.get_service_by_name(service).unwrap();
        assert!(
            service.methods().any(|found| found.name() == method),
            "{} has no {method}",
            service.full_name()
        );
    }
}
