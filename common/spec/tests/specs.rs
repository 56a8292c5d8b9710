//! Specs that are accepted: shapes, spellings, defaults, derived fields, and fields that are not implemented.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]
#![expect(clippy::needless_pass_by_value, reason = "every caller makes the value in place")]

use std::time::Duration;

use howdah_spec::{
    Input, Isolation, ParseOptions, ParsedSpec, PipelineSpec, ReprocessSpec, check_defaults, effective, from_effective,
    parse, parse_defaults, to_json, to_text, unsupported, validate,
};
use jiff::Timestamp;
use serde_json::{Value, json};

fn all(source: &str) -> Vec<ParsedSpec> {
    parse("spec", source.as_bytes(), &ParseOptions::default()).expect("the source is accepted")
}

fn one(source: &str) -> ParsedSpec {
    let mut specs = all(source);
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

fn filled(user: Value) -> PipelineSpec {
    let merged = effective(&json!({}), &Value::Null, &user).expect("the spec merges");
    from_effective(&merged, "default", "2024-05-01T10:00:00.75Z".parse().expect("a time")).expect("the spec is typed")
}

const EDGES: &str = r#"{"pipeline": {"name": "edges"},
 "input": {"pfs": {"repo": "images", "glob": "/*"}},
 "transform": {"image": "example/opencv:1.0", "cmd": ["python3", "/edges.py"]}}"#;

const WORDCOUNT: &str = r#"
$schema: https://example.org/spec.json
pipeline:
  name: wordcount
input:
  join:
  - pfs: {repo: readings, glob: "/*/(*).csv", joinOn: "$1"}
  - pfs: {repo: params,   glob: "/(*).json", join_on: "$1", outer_join: true}
transform:
  image: example/wc:2
  cmd: [bash]
  stdin: ["for f in /pfs/readings/*/*; do wc $f; done > /pfs/out/$PACH_DATUM_readings_JOIN_ON"]
parallelism_spec: {constant: "4"}
datumTimeout: 600s
"#;

#[test]
fn two_typical_specs_are_read() {
    let edges = one(EDGES);
    assert_eq!(edges.spec.transform.cmd, ["python3", "/edges.py"]);
    assert!(edges.warnings.is_empty());
    let wordcount = one(WORDCOUNT);
    assert_eq!(wordcount.spec.parallelism, 4);
    assert_eq!(wordcount.spec.datum_timeout, Some(Duration::from_secs(600)));
    assert_eq!(wordcount.user_json.get("$schema"), None);
    assert_eq!(
        wordcount.user_json["input"]["join"][1]["pfs"],
        json!({"repo": "params", "glob": "/(*).json", "joinOn": "$1", "outerJoin": true})
    );
    // In the effective spec the parts are sorted by name.
    let Some(Input::Join(parts)) = &wordcount.spec.input else {
        panic!("a join")
    };
    assert_eq!(
        parts.iter().map(Input::name).collect::<Vec<_>>(),
        ["params", "readings"]
    );
}

#[test]
fn a_source_holds_several_specs() {
    let source = format!("{EDGES}{EDGES}\n---\n[{EDGES}]\n---\n{WORDCOUNT}---\n");
    let names: Vec<String> = all(&source)
        .into_iter()
        .map(|parsed| parsed.spec.pipeline.name)
        .collect();
    assert_eq!(names, ["edges", "edges", "edges", "wordcount"]);
    assert_eq!(all("# nothing"), []);
}

#[test]
fn numbers_booleans_and_enumerations_have_several_spellings() {
    for constant in ["1", "\"1\"", "1.0", "\"1e0\"", "10e-1"] {
        let source =
            format!("{{\"pipeline\": {{\"name\": \"p\"}}, \"parallelism_spec\": {{\"constant\": {constant}}}}}");
        assert_eq!(
            one(&source).user_json["parallelismSpec"],
            json!({"constant": 1}),
            "{constant}"
        );
    }
    let parsed = one(
        r#"{"pipeline": {"name": "p"}, "datum_set_spec": {"size_bytes": "9223372036854775807"},
        "resource_limits": {"cpu": "0.5"}, "reprocessSpec": "every_job", "s3Out": false,
        "tolerations": [{"operator": 1, "effect": "NO_EXECUTE", "toleration_seconds": "30"}],
        "maximum_expected_uptime": "1.5s", "description": null}"#,
    );
    assert_eq!(
        parsed.user_json,
        json!({
            "pipeline": {"name": "p"}, "datumSetSpec": {"sizeBytes": 9_223_372_036_854_775_807_u64},
            "resourceLimits": {"cpu": 0.5}, "reprocessSpec": "every_job", "s3Out": false,
            "tolerations": [{"operator": "EXISTS", "effect": "NO_EXECUTE", "tolerationSeconds": 30}],
            "maximumExpectedUptime": "1.5s", "description": null,
        })
    );
    assert_eq!(parsed.spec.reprocess_spec, ReprocessSpec::EveryJob);
    assert_eq!(
        one("pipeline: {name: p}\nreprocess_spec: ''").spec.reprocess_spec,
        ReprocessSpec::UntilSuccess
    );
}

#[test]
fn extensions_are_read() {
    let source = "pipeline: {name: p}\ntransform: {writableInputs: true}\nreprocess_spec: on_code_change\n";
    let parsed = one(source);
    assert!(parsed.spec.transform.writable_inputs);
    assert_eq!(parsed.spec.reprocess_spec, ReprocessSpec::OnCodeChange);
    assert_eq!(parsed.user_json["transform"], json!({"writableInputs": true}));
}

#[test]
fn the_isolation_of_datums_is_one_of_two() {
    for (source, isolation, printed) in [
        (
            "pipeline: {name: p}\ntransform: {isolation: strict}\n",
            Isolation::Strict,
            json!("strict"),
        ),
        (
            r#"{"pipeline": {"name": "p"}, "transform": {"isolation": "warm"}}"#,
            Isolation::Warm,
            json!(null),
        ),
        ("pipeline: {name: p}\n", Isolation::Warm, json!(null)),
    ] {
        let parsed = one(source);
        assert_eq!(parsed.spec.transform.isolation, isolation, "{source}");
        assert_eq!(to_json(&parsed.spec)["transform"]["isolation"], printed, "{source}");
    }
    let source = b"pipeline: {name: p}\ntransform: {isolation: total}\n";
    let error = parse("spec", source, &ParseOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("transform.isolation") && error.contains("strict"),
        "{error}"
    );
}

#[test]
fn the_default_project_is_for_specs_without_one() {
    let options = ParseOptions {
        default_project: Some("team".to_owned()),
        ..ParseOptions::default()
    };
    let project = |source: &str| {
        let parsed = parse("spec", source.as_bytes(), &options).expect("accepted").remove(0);
        assert_eq!(
            parsed.user_json["pipeline"]["project"]["name"],
            json!(parsed.spec.pipeline.project)
        );
        parsed.spec.pipeline.project
    };
    assert_eq!(project("pipeline: {name: p}"), "team");
    assert_eq!(project("pipeline: {name: p, project: {name: own}}"), "own");
    assert_eq!(one("pipeline: {name: p}").user_json, json!({"pipeline": {"name": "p"}}));
}

#[test]
fn images_with_a_moving_tag_give_a_warning() {
    for (image, warned) in [
        ("x", true),
        ("x:latest", true),
        ("host:5000/x", true),
        ("host:5000/x:1", false),
        ("x:1", false),
        ("x@sha256:abc", false),
        ("x:latest@sha256:abc", false),
    ] {
        let parsed = one(&format!("pipeline: {{name: p}}\ntransform: {{image: '{image}'}}"));
        assert_eq!(!parsed.warnings.is_empty(), warned, "{image}");
    }
}

#[test]
fn specs_are_merged_over_defaults() {
    let cluster = json!({"createPipelineRequest": {
        "datum_tries": 5, "transform": {"env": {"A": "1", "B": "2"}}, "tolerations": [{"operator": "EXISTS"}],
    }});
    let project = json!({"create_pipeline_request": {"autoscaling": true, "transform": {"env": {"B": "3"}}}});
    let user = json!({
        "pipeline": {"name": "p"}, "datumTries": null, "tolerations": [],
        "transform": {"cmd": ["x"], "env": {"A": null, "C": "4"}},
    });
    assert_eq!(
        effective(&cluster, &project, &user),
        Ok(json!({
            "pipeline": {"name": "p"}, "outputBranch": "master", "reprocessSpec": "until_success",
            "autoscaling": true, "tolerations": [],
            "transform": {"image": "ubuntu:20.04", "cmd": ["x"], "env": {"B": "3", "C": "4"}},
        }))
    );
    let error = effective(&json!({"createPipelineRequest": {"datumTrys": 1}}), &Value::Null, &user).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cluster defaults: createPipelineRequest: unknown field \"datumTrys\"; did you mean \"datumTries\"?"
    );
    let error = check_defaults(&json!({"createPipelineRequest": {"pipeline": {"name": "p"}}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "createPipelineRequest.pipeline: defaults may not name a pipeline; remove it"
    );
    assert_eq!(parse_defaults("d.yaml", b""), Ok(json!({})));
    assert_eq!(
        parse_defaults("d.yaml", b"createPipelineRequest:\n  datum_tries: '4'\n"),
        Ok(json!({"createPipelineRequest": {"datumTries": 4}}))
    );
    assert!(parse_defaults("d.yaml", b"{}{}").is_err());
}

#[test]
fn derived_fields_are_filled_in() {
    let spec = filled(json!({
        "pipeline": {"name": "p"},
        "parallelismSpec": {"constant": 0}, "datumTries": 0, "datumTimeout": "0s", "outputBranch": "",
        "service": {}, "spout": {"service": {}}, "egress": {"URL": ""},
        "input": {"cross": [
            {"pfs": {"repo": "z", "glob": "b//./c/"}},
            {"union": [{"pfs": {"repo": "r", "name": "y", "glob": "/"}}, {"pfs": {"repo": "s", "name": "b", "glob": "/"}}]},
            {"cron": {"name": "tick", "spec": "@daily"}},
            {"pfs": {"repo": "t", "name": "d", "glob": "/", "trigger": {"commits": 2}}},
            {"pfs": {"repo": "t", "name": "c", "glob": "/", "trigger": {"branch": "dev", "commits": 3}}},
        ]},
    }));
    assert_eq!(
        to_json(&spec),
        json!({
            "pipeline": {"project": {"name": "default"}, "name": "p"},
            "transform": {"image": "ubuntu:20.04"},
            "parallelismSpec": {"constant": 1}, "datumTries": 3, "outputBranch": "master",
            "reprocessSpec": "until_success", "spout": {},
            "input": {"cross": [
                {"union": [
                    {"pfs": {"project": "default", "name": "b", "repo": "s", "repoType": "user", "branch": "master", "glob": "/"}},
                    {"pfs": {"project": "default", "name": "y", "repo": "r", "repoType": "user", "branch": "master", "glob": "/"}},
                ]},
                {"pfs": {"project": "default", "name": "c", "repo": "t", "repoType": "user", "branch": "p-trigger-1", "glob": "/",
                         "trigger": {"branch": "dev", "commits": 3}}},
                {"pfs": {"project": "default", "name": "d", "repo": "t", "repoType": "user", "branch": "p-trigger-2", "glob": "/",
                         "trigger": {"branch": "master", "commits": 2}}},
                {"cron": {"project": "default", "name": "tick", "repo": "p_tick", "spec": "@daily", "start": "2024-05-01T10:00:00Z"}},
                {"pfs": {"project": "default", "name": "z", "repo": "z", "repoType": "user", "branch": "master", "glob": "/b/c"}},
            ]},
        })
    );
}

#[test]
fn printed_text_has_a_fixed_order_and_reads_back() {
    let spec = one(WORDCOUNT).spec;
    let text = to_text(&spec);
    assert!(
        text.starts_with("{\n  \"pipeline\": {\n    \"name\": \"wordcount\"\n  },\n  \"transform\""),
        "{text}"
    );
    assert_eq!(one(&text).spec, spec);
}

#[test]
fn valid_specs_are_valid() {
    for user in [
        json!({"pipeline": {"name": "p"}, "input": {"pfs": {"repo": "r", "glob": "/"}}}),
        json!({"pipeline": {"name": "p"}, "spout": {}}),
        json!({"pipeline": {"name": "p"}, "spout": {"service": {"internal_port": 80}},
               "input": {"pfs": {"repo": "r", "glob": "/"}}}),
        json!({"pipeline": {"name": "p"}, "update": true}),
        json!({"pipeline": {"name": "p"}, "service": {"internal_port": 80, "type": "LoadBalancer"},
               "input": {"pfs": {"repo": "r", "glob": "/"}}}),
        json!({"pipeline": {"name": "p"}, "autoscaling": true, "maximum_expected_uptime": "1h",
               "input": {"pfs": {"repo": "out", "name": "o", "glob": "/"}}}),
        json!({"pipeline": {"name": "p"}, "input": {"union": [
            {"cross": [{"pfs": {"repo": "a", "glob": "/"}}, {"pfs": {"repo": "b", "glob": "/"}}]},
            {"cross": [{"pfs": {"repo": "a", "glob": "/*"}}, {"pfs": {"repo": "c", "glob": "/", "name": "b"}}]},
        ]}}),
        json!({"pipeline": {"name": "p"}, "input": {"cross": [
            {"pfs": {"repo": "r", "glob": "/"}}, {"pfs": {"repo": "r", "glob": "/*", "name": "again"}},
            {"pfs": {"repo": "q", "glob": "/", "s3": true}},
        ]}}),
        json!({"pipeline": {"name": "p"}, "podSpec": "{}", "podPatch": "[]", "input": {"pfs": {"repo": "r", "glob": "/"}},
               "egress": {"sqlDatabase": {"url": "postgres://h/d", "secret": {"name": "s", "key": "k"},
                                          "fileFormat": {"type": "CSV", "columns": ["a"]}}}}),
    ] {
        let spec = filled(user.clone());
        assert_eq!(validate(&spec), Ok(()), "{user}");
    }
}

#[test]
fn only_alternatives_share_names() {
    // `x` is the name of an alternative in the union and of a part beside the union.
    let spec = filled(json!({"pipeline": {"name": "p"}, "input": {"cross": [
        {"union": [{"pfs": {"repo": "x", "glob": "/"}}, {"pfs": {"repo": "y", "glob": "/"}}]},
        {"pfs": {"repo": "z", "name": "x", "glob": "/"}},
    ]}}));
    let error = validate(&spec).unwrap_err();
    assert_eq!(error.field(), "input.cross[1].pfs.name");
}

#[test]
fn fields_that_are_not_implemented_are_named() {
    let everything = filled(json!({
        "pipeline": {"name": "p"}, "service": {"internalPort": 1}, "spout": {}, "s3Out": true, "autoscaling": true,
        "egress": {"URL": "s3://b"}, "maximumExpectedUptime": "1h", "specCommit": {"id": "x"},
        "resourceLimits": {"gpu": {"type": "t", "number": 1}},
        "transform": {"datumBatching": true, "secrets": [{"name": "s", "mountPath": "/s"}]},
        "input": {"cross": [
            {"join": [{"pfs": {"repo": "a", "glob": "/", "lazy": true, "emptyFiles": true, "s3": true}}]},
            {"group": [{"pfs": {"repo": "b", "glob": "/", "lazy": true, "trigger": {}, "reference": true,
                                "propagationSpec": {"never": true}}}]},
            {"cron": {"name": "c", "spec": "@never"}},
        ]},
    }));
    assert_eq!(
        unsupported(&everything),
        [
            "transform.secrets",
            "transform.datum_batching",
            "input.join",
            "input.pfs.lazy",
            "input.pfs.empty_files",
            "input.pfs.s3",
            "input.group",
            "input.pfs.trigger",
            "input.pfs.propagation_spec",
            "input.pfs.reference",
            "input.cron",
            "s3_out",
            "egress",
            "autoscaling",
            "resource_limits.gpu",
            "service",
            "spout",
            "maximum_expected_uptime",
            "spec_commit",
        ]
    );
    let plain = filled(json!({
        "pipeline": {"name": "p"}, "parallelismSpec": {"constant": 2}, "datumTries": 1, "datumTimeout": "1s",
        "jobTimeout": "1s", "outputBranch": "b", "reprocessSpec": "every_job", "salt": "s",
        "datumSetSpec": {"number": 1}, "resourceLimits": {"memory": "1G", "cpu": 1}, "podPatch": "[]",
        "schedulingSpec": {"nodeSelector": {"a": "b"}}, "metadata": {"labels": {"a": "b"}},
        "transform": {"errCmd": ["x"], "errStdin": ["x"], "env": {"A": "b"}, "user": "u", "workingDir": "/",
                      "acceptReturnCode": [1], "writableInputs": true, "stdin": ["x"], "imagePullSecrets": ["s"]},
        "input": {"union": [{"cross": [{"pfs": {"repo": "a", "glob": "/", "propagationSpec": {"never": false}}}]}]},
    }));
    assert_eq!(unsupported(&plain), [""; 0]);
}

#[test]
fn an_effective_spec_is_a_fixed_point() {
    let spec = filled(json!({"pipeline": {"name": "p"}, "input": {"pfs": {"repo": "r", "glob": "/"}}}));
    let again = from_effective(&to_json(&spec), "other", Timestamp::UNIX_EPOCH);
    assert_eq!(again, Ok(spec));
}
