//! Lists of the datums of a job with a million of them.

use howdah_api::pps_v2 as pps;
use howdah_coordinator::job::plan::{self, MergePlan};
use howdah_model::{BranchName, ContentHash, DatumCounts, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_protocol::objects::{Datum, DatumInput, DatumSet, plan_key};
use howdah_protocol::testing;

use super::{PeakMemory, Server, edges};

const SETS: u64 = 1_000;
const DATUMS_OF_SET: u64 = 1_000;
const PAGE: i64 = 100;
/// Far less than a million datums need.
const LIMIT: usize = 256 << 20;

/// Returns the id of a datum. Consecutive numbers give ids in no order.
fn id(number: u64) -> DatumId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    DatumId::new(bytes)
}

fn datum(number: u64) -> Datum {
    let input = DatumInput {
        name: "images".into(),
        repo: "default/images".parse().unwrap(),
        branch: BranchName::master(),
        commit: GlobalId::from_number(1),
        root: TreeRoot::new([1; 32]),
        path: format!("/images/of/a/longer/path/{number:07}.png"),
        is_dir: false,
        size: number,
        hash: ContentHash::new([2; 32]),
        join_on: String::new(),
        group_by: String::new(),
    };
    Datum {
        id: id(number),
        hash: DatumHash::new([3; 32]),
        inputs: vec![input],
        slices: Vec::new(),
    }
}

/// Plans the job of a server, with all its sets.
async fn plan(server: &Server) {
    let store = server.core.store();
    let mut job_plan = testing::plan("edges", 1, &["true"]);
    job_plan.job = server.job;
    for set in 0..SETS {
        let datums = (0..DATUMS_OF_SET).map(|place| datum(set * DATUMS_OF_SET + place));
        let set = DatumSet {
            set: u32::try_from(set).unwrap(),
            datums: datums.collect(),
        };
        plan::write_set(store, &job_plan, &set).await.unwrap();
    }
    plan::write_job(store, &job_plan).await.unwrap();
    let merge = MergePlan {
        base: None,
        dropped: Vec::new(),
        skipped: 0,
        to_do: SETS * DATUMS_OF_SET,
        sets: u32::try_from(SETS).unwrap(),
    };
    plan::write_merge(store, &job_plan, &merge).await.unwrap();
    let counts = DatumCounts {
        total: SETS * DATUMS_OF_SET,
        ..Default::default()
    };
    server.run(plan_key(&edges(), &server.job), counts).await;
}

/// Returns the ids of a page.
async fn page(server: &Server, request: pps::ListDatumRequest) -> Vec<DatumId> {
    let mut datums = server.client.pps().list_datum(request).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while let Some(info) = datums.message().await.unwrap() {
        assert_eq!(info.data.len(), 1);
        ids.push(info.datum.unwrap().id.parse().unwrap());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_million_datums_needs_little_memory() {
    let server = Server::start(64 << 20).await;
    plan(&server).await;
    let mut all: Vec<u64> = (0..SETS * DATUMS_OF_SET).collect();
    // Sorting all of them takes long.
    all.select_nth_unstable_by_key(PAGE as usize, |number| id(*number));
    all.truncate(PAGE as usize);
    all.sort_unstable_by_key(|number| id(*number));
    let memory = PeakMemory::begin();
    let of_job = pps::ListDatumRequest {
        job: Some(server.job()),
        number: PAGE,
        ..Default::default()
    };
    let expected: Vec<DatumId> = all[..PAGE as usize].iter().map(|number| id(*number)).collect();
    assert!(page(&server, of_job).await == expected);
    memory.expect_at_most(LIMIT);
}
