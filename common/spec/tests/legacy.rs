//! Every old form and its translation.

#![expect(clippy::needless_pass_by_value, reason = "every caller makes the values in place")]

use howdah_spec::{Input, ParseOptions, ParsedSpec, parse};
use serde_json::{Value, json};

fn options() -> ParseOptions {
    ParseOptions {
        nodes: 1,
        cores: 4,
        default_project: None,
    }
}

fn read(source: &str) -> ParsedSpec {
    read_with(source, &options())
}

fn read_with(source: &str, options: &ParseOptions) -> ParsedSpec {
    let mut specs = parse("old.json", source.as_bytes(), options).expect("the spec is accepted");
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

/// Reads a spec with additional top-level fields; returns the user spec without the pipeline.
fn user(fields: Value) -> (Value, Vec<String>) {
    let mut source = fields;
    source["pipeline"] = json!({"name": "p"});
    let parsed = read(&source.to_string());
    let mut user = parsed.user_json;
    user.as_object_mut().expect("an object").remove("pipeline");
    (user, parsed.warnings)
}

/// Expects an exact translation without a warning.
fn becomes(old: Value, new: Value) {
    let (user, warnings) = user(old.clone());
    assert_eq!(user, new, "{old}");
    assert!(warnings.is_empty(), "{old}: {warnings:?}");
}

/// Expects a translation with one warning that contains a text.
fn becomes_with_warning(old: Value, new: Value, warning: &str) {
    let (user, warnings) = user(old.clone());
    assert_eq!(user, new, "{old}");
    assert!(
        warnings.len() == 1 && warnings[0].contains(warning),
        "{old}: {warnings:?}"
    );
}

#[test]
fn two_typical_old_files_are_translated() {
    let first = read(
        r#"{"pipeline": {"name": "model"},
            "transform": {"image": "example/train:1", "cmd": ["/train", "-out=/pfs/out"]},
            "parallelism_spec": {"strategy": "CONSTANT", "constant": "1"},
            "inputs": [{"repo": {"name": "training"}, "glob": "/"}]}"#,
    );
    assert!(first.warnings.is_empty(), "{:?}", first.warnings);
    assert_eq!(first.spec.parallelism, 1);
    let Some(Input::Pfs(pfs)) = &first.spec.input else {
        panic!("one pfs input: {:?}", first.spec.input)
    };
    assert_eq!(
        (
            pfs.repo.as_str(),
            pfs.name.as_str(),
            pfs.branch.as_str(),
            pfs.glob.as_str()
        ),
        ("training", "training", "master", "/")
    );

    let second = read(
        r#"{"pipeline": {"name": "prediction"},
            "transform": {"image": "example/predict:1", "cmd": ["/bin/sh"],
                          "stdin": ["/predict -in=$attributes -model=/pfs/model -out=/pfs/out"]},
            "parallelism_spec": {"constant": "10"},
            "input": {"cross": [{"atom": {"repo": "attributes", "glob": "/*"}},
                                {"atom": {"repo": "model", "glob": "/"}}]}}"#,
    );
    assert!(second.warnings.is_empty(), "{:?}", second.warnings);
    assert_eq!(second.spec.parallelism, 10);
    let Some(Input::Cross(parts)) = &second.spec.input else {
        panic!("a cross: {:?}", second.spec.input)
    };
    assert_eq!(
        parts.iter().map(Input::name).collect::<Vec<_>>(),
        ["attributes", "model"]
    );
    assert_eq!(
        second.user_json["input"],
        json!({"cross": [{"pfs": {"repo": "attributes", "glob": "/*"}}, {"pfs": {"repo": "model", "glob": "/"}}]})
    );
}

#[test]
fn lists_of_inputs_are_translated() {
    let pfs = |repo: &str, glob: &str| json!({"pfs": {"repo": repo, "glob": glob}});
    becomes(
        json!({"inputs": [{"repo": {"name": "a"}, "glob": "/"}]}),
        json!({"input": pfs("a", "/")}),
    );
    becomes(
        json!({"inputs": [{"repo": {"name": "b"}, "glob": "/"}, {"repo": "a", "glob": "/*"}]}),
        json!({"input": {"cross": [pfs("b", "/"), pfs("a", "/*")]}}),
    );
    becomes(
        json!({"inputs": [{"name": "n", "repo": "a", "branch": "b", "glob": "/", "lazy": true, "run_empty": true}]}),
        json!({"input": {"pfs": {"name": "n", "repo": "a", "branch": "b", "glob": "/", "lazy": true}}}),
    );
    becomes(
        json!({"inputs": [{"repo": "a", "runEmpty": true, "glob": "/"}]}),
        json!({"input": pfs("a", "/")}),
    );
    becomes(json!({"inputs": []}), json!({}));
    becomes(
        json!({"inputs": null, "input": pfs("a", "/")}),
        json!({"input": pfs("a", "/")}),
    );
    for from in ["from", "from_commit", "fromCommit"] {
        let mut input = json!({"repo": "a", "glob": "/"});
        input[from] = json!({"repo": {"name": "a"}, "ID": "master/1"});
        becomes_with_warning(
            json!({"inputs": [input]}),
            json!({"input": pfs("a", "/")}),
            "inputs[0].from",
        );
    }
}

#[test]
fn methods_become_globs() {
    for (method, glob) in [
        (json!("map"), "/*"),
        (json!("reduce"), "/*"),
        (json!("global"), "/"),
        (json!({"partition": "BLOCK"}), "/*"),
        (json!({"partition": "FILE", "incremental": "DIFF"}), "/*"),
        (json!({"partition": "REPO", "incremental": true}), "/"),
        (json!({"incremental": "FULL"}), "/*"),
        (json!(null), "/*"),
    ] {
        becomes(
            json!({"inputs": [{"repo": {"name": "a"}, "method": method}]}),
            json!({"input": {"pfs": {"repo": "a", "glob": glob}}}),
        );
    }
    becomes(
        json!({"inputs": [{"repo": {"name": "a"}}]}),
        json!({"input": {"pfs": {"repo": "a", "glob": "/*"}}}),
    );
    becomes(
        json!({"inputs": [{"repo": {"name": "a"}, "method": "map", "glob": "/x"}]}),
        json!({"input": {"pfs": {"repo": "a", "glob": "/x"}}}),
    );
}

#[test]
fn atoms_at_any_depth_become_pfs() {
    let atom =
        json!({"name": "n", "repo": {"name": "a"}, "branch": "b", "glob": "/", "lazy": true, "empty_files": false});
    let pfs = json!({"name": "n", "repo": "a", "branch": "b", "glob": "/", "lazy": true, "emptyFiles": false});
    becomes(json!({"input": {"atom": atom}}), json!({"input": {"pfs": pfs}}));
    becomes(
        json!({"input": {"union": [{"cross": [{"atom": atom}]}]}}),
        json!({"input": {"union": [{"cross": [{"pfs": pfs}]}]}}),
    );
    becomes_with_warning(
        json!({"input": {"cross": [{"atom": {"repo": "a", "glob": "/", "from_commit": "x"}}]}}),
        json!({"input": {"cross": [{"pfs": {"repo": "a", "glob": "/"}}]}}),
        "input.cross[0].atom.from_commit",
    );
}

#[test]
fn parallelism_is_translated() {
    let constant = |n: u64| json!({"parallelismSpec": {"constant": n}});
    becomes(json!({"parallelism": 3}), constant(3));
    becomes(json!({"parallelism": "3"}), constant(3));
    becomes(json!({"parallelism": 0}), constant(1));
    becomes(
        json!({"parallelism_spec": {"strategy": "CONSTANT", "constant": 2}}),
        constant(2),
    );
    becomes(
        json!({"parallelismSpec": {"strategy": 0, "constant": "2"}}),
        constant(2),
    );
    becomes(
        json!({"parallelism_spec": {"constant": 2, "coefficient": 0}}),
        constant(2),
    );
    let warning = "parallelism_spec.coefficient: became constant: 8 (2 times 4 usable cores of this machine)";
    for strategy in [json!("COEFFICIENT"), json!(1), json!(null)] {
        becomes_with_warning(
            json!({"parallelism_spec": {"strategy": strategy, "coefficient": "2"}}),
            constant(8),
            warning,
        );
    }
    becomes_with_warning(
        json!({"parallelism_spec": {"coefficient": 0.6}}),
        constant(2),
        "0.6 times 4",
    );
    becomes_with_warning(
        json!({"parallelism_spec": {"coefficient": 0.1, "constant": 0}}),
        constant(1),
        "0.1 times 4",
    );
    let several = ParseOptions { nodes: 3, ..options() };
    let parsed = read_with(
        r#"{"pipeline": {"name": "p"}, "parallelism_spec": {"coefficient": 2}}"#,
        &several,
    );
    assert_eq!(parsed.spec.parallelism, 6);
    assert_eq!(
        parsed.warnings,
        ["old.json:1:50: parallelism_spec.coefficient: became constant: 6 (2 times 3 worker machines)"]
    );
    assert_eq!(read(r#"{"pipeline": {"name": "p"}}"#).spec.parallelism, 1);
}

#[test]
fn resources_are_translated() {
    let gpu = |n: u64| json!({"type": "nvidia.com/gpu", "number": n});
    becomes(
        json!({"resource_spec": {"cpu": 1, "memory": "64M", "gpu": 2, "disk": "1G"}}),
        json!({
            "resourceRequests": {"cpu": 1.0, "memory": "64M", "gpu": gpu(2), "disk": "1G"},
            "resourceLimits": {"gpu": gpu(2)},
        }),
    );
    becomes(
        json!({"resourceSpec": {"cpu": "0.5", "gpu": 0}}),
        json!({"resourceRequests": {"cpu": 0.5}}),
    );
    becomes(
        json!({"resource_requests": {"gpu": "1"}, "resource_limits": {"gpu": 1}}),
        json!({"resourceRequests": {"gpu": gpu(1)}, "resourceLimits": {"gpu": gpu(1)}}),
    );
}

#[test]
fn other_fields_are_translated_or_dropped() {
    becomes(json!({"outputBranch": "b"}), json!({"outputBranch": "b"}));
    becomes(
        json!({"chunk_spec": {"number": 5, "size_bytes": "10"}}),
        json!({"datumSetSpec": {"number": 5, "sizeBytes": 10}}),
    );
    becomes(
        json!({"chunkSpec": {"number": 5}}),
        json!({"datumSetSpec": {"number": 5}}),
    );
    becomes(json!({"standby": true}), json!({"autoscaling": true}));
    becomes_with_warning(
        json!({"scale_down_threshold": "600s"}),
        json!({"autoscaling": true}),
        "scale_down_threshold",
    );
    becomes(json!({"scaleDownThreshold": "0s"}), json!({}));
    becomes(json!({"scale_down_threshold": 0}), json!({}));
    becomes(
        json!({"transform": {"image": "x:1", "overwrite": true, "secrets": [{"name": "s", "mount_path": "/s"}]}}),
        json!({"transform": {"image": "x:1", "secrets": [{"name": "s", "mountPath": "/s"}]}}),
    );
    becomes(
        json!({"transform": {"image": "x:1", "build": null}}),
        json!({"transform": {"image": "x:1"}}),
    );
    becomes_with_warning(
        json!({"spout": {"overwrite": true}}),
        json!({"spout": {}}),
        "spout.overwrite",
    );
    becomes(json!({"spout": {"overwrite": false}}), json!({"spout": {}}));
    becomes_with_warning(json!({"spout": {"marker": "m"}}), json!({"spout": {}}), "spout.marker");
    becomes(
        json!({"service": {"internal_port": 80, "annotations": {"a": "1", "b": "2"}}, "metadata": {"annotations": {"a": "0"}}}),
        json!({"service": {"internalPort": 80}, "metadata": {"annotations": {"a": "0", "b": "2"}}}),
    );
    becomes(
        json!({"service": {"internal_port": 80, "annotations": {"a": "1"}}}),
        json!({"service": {"internalPort": 80}, "metadata": {"annotations": {"a": "1"}}}),
    );
    becomes_with_warning(json!({"incremental": true}), json!({}), "incremental");
    becomes(json!({"incremental": false}), json!({}));
    becomes(
        json!({
            "enable_stats": true, "cache_size": "64M", "max_queue_size": 2, "batch": true,
            "hashtree_spec": {"constant": 1}, "gc_policy": "x", "no_archive": true, "tf_job": null,
        }),
        json!({}),
    );
    becomes(
        json!({"enableStats": true, "cacheSize": "64M", "maxQueueSize": 2, "hashtreeSpec": null}),
        json!({}),
    );
    becomes(
        json!({"egress": {"URL": "s3://b/p"}}),
        json!({"egress": {"URL": "s3://b/p"}}),
    );
    becomes(
        json!({"datum_timeout": "5m", "job_timeout": "1h30m"}),
        json!({"datumTimeout": "300s", "jobTimeout": "5400s"}),
    );
    becomes(json!({"update": true}), json!({"update": true}));
}

#[test]
fn warnings_have_a_position() {
    let parsed =
        read("{\"pipeline\": {\"name\": \"p\"},\n  \"incremental\": true,\n  \"transform\": {\"image\": \"x\"}}");
    assert_eq!(
        parsed.warnings,
        [
            "old.json:2:3: incremental: dropped: skipping unchanged datums replaces it",
            "old.json:3:26: transform.image: the image \"x\" has no tag, so results depend on what it is when it is pulled; name a version or a digest",
        ]
    );
}
