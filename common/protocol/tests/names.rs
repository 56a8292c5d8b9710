//! Names on the wire that differ from the names in the code. A renamed type or field must not change them: stores and
//! messages of earlier releases hold them.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_protocol::messages::{PrewarmOrder, PrewarmStages, SetDone, SetFailed, SetFailure};
use howdah_protocol::objects::{JobPlan, PlanId, SetConcurrency, SingleObjectPlan};
use howdah_protocol::testing;
use howdah_protocol::wire::{self, Wire};
use serde_json::{Value, json};

fn pipeline() -> PipelineKey {
    "default/edges".parse().unwrap()
}

fn job() -> GlobalId {
    GlobalId::from_number(1)
}

fn plan() -> JobPlan {
    testing::plan("edges", 1, &["sh"])
}

fn written<T: Wire>(value: &T) -> Value {
    serde_json::from_slice(&wire::encode(value)).unwrap()
}

/// Reads text as an earlier release wrote it.
fn read<T: Wire>(text: &Value) -> T {
    wire::decode(text.to_string().as_bytes()).unwrap()
}

#[test]
fn a_plan_calls_its_concurrency_spread() {
    let sequential = plan();
    let text = written(&sequential);
    assert_eq!((&text["kind"], &text["v"]), (&json!("job_plan"), &json!(1)));
    assert_eq!(text["body"]["spread"], json!("OneAfterTheOther"));
    assert_eq!(read::<JobPlan>(&text), sequential);

    let concurrent = JobPlan {
        concurrency: SetConcurrency::Concurrent { workers: 2, slots: 4 },
        ..plan()
    };
    let text = written(&concurrent);
    assert_eq!(text["body"]["spread"], json!({"AtOnce": {"workers": 2, "slots": 4}}));
    assert_eq!(read::<JobPlan>(&text), concurrent);

    // Releases before that field wrote none.
    let mut older = written(&sequential);
    older["body"].as_object_mut().unwrap().remove("spread");
    assert_eq!(read::<JobPlan>(&older), sequential);
}

#[test]
fn a_plan_of_an_earlier_release_has_no_id() {
    assert!(written(&plan())["body"].get("id").is_none());
    let now = JobPlan {
        id: PlanId::from_random(7),
        ..plan()
    };
    let text = written(&now);
    assert_eq!(text["body"]["id"], json!(7));
    assert_eq!(read::<JobPlan>(&text), now);
}

#[test]
fn a_plan_calls_the_rest_of_a_small_plan_whole() {
    assert!(written(&plan())["body"].get("whole").is_none());
    let small = JobPlan {
        single_object: Some(Box::new(SingleObjectPlan {
            set: None,
            merge: json!({"kept": 1}),
        })),
        ..plan()
    };
    let text = written(&small);
    assert_eq!(text["body"]["whole"], json!({"set": null, "merge": {"kept": 1}}));
    assert_eq!(read::<JobPlan>(&text), small);
}

#[test]
fn set_events_are_set_done_and_set_trouble() {
    let done = SetDone {
        pipeline: pipeline(),
        job: job(),
        plan: PlanId::EARLIER,
        set: 3,
        worker: "w".to_owned(),
        result: None,
    };
    let text = json!({"kind": "set_done", "v": 1, "body": {
        "pipeline": "default/edges", "job": job().to_string(), "set": 3, "worker": "w",
    }});
    assert_eq!(written(&done), text);
    assert_eq!(read::<SetDone>(&text), done);

    let failed = SetFailed {
        pipeline: pipeline(),
        job: job(),
        plan: PlanId::EARLIER,
        set: 3,
        worker: "w".to_owned(),
        message: "disk full".to_owned(),
        needs_attention: true,
        failure: SetFailure::Outage,
        retry_ms: Some(500),
    };
    let text = json!({"kind": "set_trouble", "v": 1, "body": {
        "pipeline": "default/edges", "job": job().to_string(), "set": 3, "worker": "w",
        "message": "disk full", "needs_attention": true, "failure": "outage", "retry_ms": 500,
    }});
    assert_eq!(written(&failed), text);
    assert_eq!(read::<SetFailed>(&text), failed);
    // As workers of an earlier release say it.
    let text = json!({"kind": "set_trouble", "v": 1, "body": {
        "pipeline": "default/edges", "job": job().to_string(), "set": 3, "worker": "w",
        "message": "disk full", "needs_attention": true,
    }});
    let older = SetFailed {
        failure: SetFailure::Passing,
        retry_ms: None,
        ..failed
    };
    assert_eq!(read::<SetFailed>(&text), older);
    assert_eq!(written(&older), text);
}

#[test]
fn a_prewarm_order_is_standing() {
    let order = PrewarmOrder {
        pipeline: pipeline(),
        stages: Some(PrewarmStages {
            version: 2,
            stage: testing::stage(&["sh"]),
            slots: 1,
        }),
    };
    let text = written(&order);
    assert_eq!((&text["kind"], &text["v"]), (&json!("standing"), &json!(1)));
    let stages = &text["body"]["stages"];
    assert_eq!((&stages["version"], &stages["slots"]), (&json!(2), &json!(1)));
    assert_eq!(stages["stage"]["image"]["digest"], json!("sha256:1"));
    assert_eq!(read::<PrewarmOrder>(&text), order);

    let ended = json!({"kind": "standing", "v": 1, "body": {"pipeline": "default/edges", "stages": null}});
    assert_eq!(read::<PrewarmOrder>(&ended).stages, None);
}
