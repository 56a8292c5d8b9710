//! The messages for common mistakes.
//!
//! Each snapshot shows a source and its message; the diff of a snapshot shows a reviewer the effect of a change.

use howdah_spec::{ParseOptions, from_effective, parse, validate};
use serde_json::json;

/// Reads a source as a client and then a server do; returns the first error.
fn message(file: &str, source: &str) -> String {
    let specs = match parse(file, source.as_bytes(), &ParseOptions::default()) {
        Ok(specs) => specs,
        Err(error) => return error.to_string(),
    };
    for spec in specs {
        let merged = howdah_spec::effective(&json!({}), &json!({}), &spec.user_json);
        let typed = merged.and_then(|merged| from_effective(&merged, "default", jiff::Timestamp::UNIX_EPOCH));
        if let Err(error) = typed.and_then(|spec| validate(&spec)) {
            return error.to_string();
        }
    }
    "accepted".to_owned()
}

/// Compares the messages of some sources with the snapshot of that name.
fn check(name: &str, file: &str, sources: &[&str]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, table(file, sources)));
}

fn table(file: &str, sources: &[&str]) -> String {
    let mut table = String::new();
    for source in sources {
        table.push_str(source.trim_end());
        table.push_str("\n  => ");
        table.push_str(&message(file, source));
        table.push_str("\n\n");
    }
    table
}

/// Puts fields of a transform into a spec.
fn transforms(fields: &[&str]) -> Vec<String> {
    let spec = |field: &&str| {
        format!(
            "{{\"pipeline\": {{\"name\": \"p\"}}, \"input\": {{\"pfs\": {{\"repo\": \"r\", \"glob\": \"/\"}}}},\n \"transform\": {{{field}}}}}"
        )
    };
    fields.iter().map(spec).collect()
}

/// Puts top-level fields into a spec.
fn fields(fields: &[&str]) -> Vec<String> {
    let spec = |field: &&str| {
        format!(
            "{{\"pipeline\": {{\"name\": \"p\"}}, \"input\": {{\"pfs\": {{\"repo\": \"r\", \"glob\": \"/\"}}}},\n {field}}}"
        )
    };
    fields.iter().map(spec).collect()
}

/// Puts an input into a spec.
fn inputs(inputs: &[&str]) -> Vec<String> {
    let spec = |input: &&str| format!("{{\"pipeline\": {{\"name\": \"p\"}},\n \"input\": {input}}}");
    inputs.iter().map(spec).collect()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn text_with_syntax_errors() {
    check(
        "json_text",
        "spec.json",
        &[
            "{\"pipeline\": {\"name\": \"p\"}\n \"transform\": {}}",
            "{\"pipeline\": {\"name\": \"p\"}",
            "{'pipeline' {}}",
            "{\"pipeline\": {\"name\": \"p}}\n",
            "{\"pipeline\": {\"name\": \"p\"}, \"x\" 1]",
            "\"pipeline\"",
            "[[]]",
            "{\"pipeline\": {\"name\": \"p\", \"name\": \"q\"}}",
        ],
    );
    check(
        "yaml_text",
        "spec.yaml",
        &[
            "pipeline:\n  name: p\n transform: {}\n",
            "pipeline:\n\tname: p\n",
            "pipeline: {name: p\n",
            "just text\n",
            "pipeline: {name: p}\n1: x\n",
            "pipeline: {name: p}\ntransform: !include other.yaml\n",
            "pipeline: {name: p}\ntransform: *common\n",
            "pipeline: {name: p}\n---\n- 5\n",
        ],
    );
}

#[test]
fn values_of_the_wrong_type() {
    let transforms = transforms(&[
        "\"stdin\": \"wc -l /pfs/in\"",
        "\"cmd\": \"python3 /edges.py\"",
        "\"env\": {\"THREADS\": 4}",
        "\"env\": {\"DEBUG\": true}",
        "\"env\": [\"A=b\"]",
        "\"env\": {\"A\": \"1\", \"A\": \"2\"}",
        "\"accept_return_code\": 3",
        "\"accept_return_code\": [\"x\"]",
        "\"debug\": \"true\"",
        "\"debug\": \"maybe\"",
        "\"secrets\": {\"name\": \"s\"}",
        "\"cmd\": [\"x\", null]",
        "\"image\": 5",
    ]);
    let fields = fields(&[
        "\"parallelism_spec\": 4",
        "\"parallelism_spec\": {\"constant\": 1.5}",
        "\"parallelism_spec\": {\"constant\": \"many\"}",
        "\"parallelism_spec\": {\"constant\": -1}",
        "\"datum_tries\": 99999999999",
        "\"datum_timeout\": 600",
        "\"datum_timeout\": \"600\"",
        "\"job_timeout\": \"-5s\"",
        "\"job_timeout\": \"1 day\"",
        "\"resource_limits\": {\"memory\": 64}",
        "\"resource_limits\": {\"memory\": \"64MB\"}",
        "\"resource_limits\": {\"cpu\": \"half\"}",
        "\"reprocess_spec\": \"always\"",
        "\"tolerations\": [{\"operator\": \"EXIST\"}]",
        "\"service\": {\"internal_port\": 80, \"type\": \"Nodeport\"}",
        "\"service\": {\"internal_port\": 80000}",
        "\"transform\": \"ubuntu:22.04\"",
        "\"egress\": \"s3://bucket\"",
        "\"description\": [\"x\"]",
    ]);
    check("json_types", "spec.json", &borrowed(&[transforms, fields].concat()));
    check(
        "yaml_types",
        "spec.yaml",
        &[
            "pipeline: {name: p}\ntransform:\n  debug: yes\n",
            "pipeline: {name: p}\ntransform:\n  env:\n    PORT: 8080\n",
            "pipeline: {name: p}\ntransform:\n  env:\n    MODE: 0644\n",
            "pipeline: {name: p}\nparallelism_spec: {constant: 0x10}\n",
            "pipeline: {name: p}\nparallelism_spec: {constant: 1_000}\n",
            "pipeline: {name: 7}\n",
            "pipeline: p\n",
            "pipeline: {name: p, project: team}\n",
            "pipeline: {name: p}\ntransform:\n  stdin: |\n    line 1\n    line 2\n",
            "pipeline: {name: p}\nresource_limits: {cpu: .inf}\n",
        ],
    );
}

#[test]
fn fields_in_the_wrong_place() {
    let fields = fields(&[
        "\"paralellism_spec\": {\"constant\": 1}",
        "\"datumTrys\": 3",
        "\"image\": \"x:1\"",
        "\"cmd\": [\"x\"]",
        "\"glob\": \"/*\"",
        "\"transform\": {\"cmds\": [\"x\"]}",
        "\"transform\": {\"Image\": \"x:1\"}",
        "\"datum_tries\": 1, \"datumTries\": 2",
        "\"datum_set_spec\": {\"size_bytes\": 1, \"sizeBytes\": 1}",
        "\"datum_set_spec\": {\"zzz\": 1}",
        "\"egress\": {\"URL\": \"s3://b\", \"url\": \"s3://b\"}",
        "\"egress\": {\"URL\": \"s3://b\", \"object_storage\": {\"url\": \"s3://c\"}}",
    ]);
    let inputs = inputs(&[
        "{}",
        "{\"repo\": \"r\", \"glob\": \"/\"}",
        "\"r\"",
        "[{\"pfs\": {\"repo\": \"r\", \"glob\": \"/\"}}]",
        "{\"pfs\": {\"repo\": \"r\", \"glob\": \"/\"}, \"cron\": {\"name\": \"c\", \"spec\": \"@daily\"}}",
        "{\"cross\": {\"pfs\": {\"repo\": \"r\", \"glob\": \"/\"}}}",
        "{\"cross\": [{\"repo\": \"r\", \"glob\": \"/\"}]}",
        "{\"cross\": []}",
        "{\"pfs\": {\"repos\": \"r\", \"glob\": \"/\"}}",
        "{\"pfs\": {\"repo\": {\"name\": \"r\"}, \"glob\": \"/\"}}",
    ]);
    check("fields", "spec.json", &borrowed(&[fields, inputs].concat()));
}

#[test]
fn specs_that_break_a_rule() {
    let names = [
        "{\"transform\": {\"image\": \"x:1\"}}",
        "{\"pipeline\": {}}",
        "{\"pipeline\": {\"name\": \"\"}}",
        "{\"pipeline\": {\"name\": \"my pipeline\"}}",
        "{\"pipeline\": {\"name\": \"-p\"}}",
        "{\"pipeline\": {\"name\": \"p23456789012345678901234567890123456789012345678901x\"}}",
        "{\"pipeline\": {\"name\": \"p\", \"project\": {\"name\": \"a/b\"}}}",
        "{\"pipeline\": {\"name\": \"p\"}}",
    ];
    let fields = fields(&[
        "\"output_branch\": \"a/b\"",
        "\"output_branch\": \"0123456789ab4cdef0123456789abcde\"",
        "\"transform\": {\"image\": null}",
        "\"transform\": {\"image\": \"my image\"}",
        "\"transform\": {\"env\": {\"A=B\": \"c\"}}",
        "\"transform\": {\"secrets\": [{\"key\": \"k\", \"mount_path\": \"/s\"}]}",
        "\"transform\": {\"secrets\": [{\"name\": \"s\", \"envVar\": \"V\"}]}",
        "\"transform\": {\"secrets\": [{\"name\": \"s\"}]}",
        "\"spout\": {}",
        "\"spout\": {\"service\": {\"internal_port\": 80}}, \"service\": {\"internal_port\": 80}",
        "\"spout\": {}, \"autoscaling\": true",
        "\"spout\": {}, \"s3_out\": true",
        "\"service\": {\"internal_port\": 80}, \"s3_out\": true",
        "\"service\": {\"internal_port\": 80}, \"parallelism_spec\": {\"constant\": 2}",
        "\"service\": {\"external_port\": 30080}",
        "\"pod_spec\": \"{oops\"",
        "\"podPatch\": \"{}\"",
        "\"tolerations\": [{\"key\": \"gpu\"}]",
        "\"egress\": {\"URL\": \"ftp://host/dir\"}",
        "\"egress\": {\"sql_database\": {\"url\": \"postgres://h/db\", \"secret\": {\"name\": \"s\"}}}",
        "\"maximum_expected_uptime\": \"1h\"",
        "\"spec_commit\": {\"id\": \"x\"}, \"update\": true",
        "\"resource_requests\": {\"disk\": \"-1Gi\"}",
    ]);
    let pfs = |fields: &str| format!("{{\"pfs\": {{{fields}}}}}");
    let leaves = [
        "\"glob\": \"/\"",
        "\"repo\": \"r\"",
        "\"repo\": \"r/x\", \"glob\": \"/\"",
        "\"repo\": \"r\", \"glob\": \"/(a\"",
        "\"repo\": \"r\", \"glob\": \"/[z-a]\"",
        "\"repo\": \"out\", \"glob\": \"/\"",
        "\"repo\": \"r\", \"glob\": \"/\", \"name\": \".env\"",
        "\"repo\": \"r\", \"glob\": \"/\", \"name\": \"a/b\"",
        "\"repo\": \"r\", \"glob\": \"/\", \"commit\": \"abc\"",
        "\"repo\": \"r\", \"glob\": \"/\", \"repo_type\": \"data\"",
        "\"repo\": \"p\", \"glob\": \"/\"",
        "\"repo\": \"r\", \"glob\": \"/*\", \"s3\": true",
        "\"repo\": \"r\", \"glob\": \"/\", \"s3\": true, \"lazy\": true",
        "\"repo\": \"r\", \"glob\": \"/\", \"trigger\": {\"size\": \"big\"}",
        "\"repo\": \"r\", \"glob\": \"/\", \"branch\": \"b\", \"trigger\": {\"branch\": \"b\"}",
        "\"repo\": \"r\", \"glob\": \"/\", \"trigger\": {\"cron_spec\": \"* *\"}",
    ]
    .map(pfs);
    let trees = [
        "{\"join\": [{\"pfs\": {\"repo\": \"r\", \"glob\": \"/\", \"s3\": true}}]}",
        "{\"cross\": [{\"pfs\": {\"repo\": \"z\", \"glob\": \"/\"}},\n  {\"pfs\": {\"repo\": \"z\", \"glob\": \"/*\"}}]}",
        "{\"cross\": [{\"pfs\": {\"repo\": \"z\", \"glob\": \"/\"}},\n  {\"pfs\": {\"repo\": \"a\", \"glob\": \"/(\"}}]}",
        "{\"cross\": [{\"pfs\": {\"repo\": \"r\", \"glob\": \"/\"}},\n  {\"pfs\": {\"repo\": \"r\", \"glob\": \"/\", \"name\": \"s\", \"branch\": \"dev\"}}]}",
        "{\"cron\": {\"name\": \"tick\"}}",
        "{\"cron\": {\"name\": \"tick\", \"spec\": \"0 0 * * * *\"}}",
        "{\"cron\": {\"name\": \"tick\", \"spec\": \"@reboot\"}}",
        "{\"cron\": {\"name\": \"tick\", \"spec\": \"@daily\", \"start\": \"yesterday\"}}",
        "{\"cron\": {\"spec\": \"@daily\"}}",
    ];
    let mut inputs = inputs(&leaves.each_ref().map(String::as_str));
    inputs.extend(self::inputs(&trees));
    let mut all: Vec<&str> = names.to_vec();
    let rest = [fields, inputs].concat();
    all.extend(borrowed(&rest));
    check("rules", "spec.json", &all);
}

#[test]
fn old_forms_that_are_refused() {
    let old = [
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [], \"input\": {}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": {\"repo\": \"r\"}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [\"r\"]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [{\"repo\": {\"name\": \"r\", \"x\": 1}}]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [{\"repo\": {}}]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [{\"repo\": \"r\", \"method\": \"shuffle\"}]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [{\"repo\": \"r\", \"method\": {\"partition\": \"BLOB\"}}]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"inputs\": [{\"repo\": \"r\", \"method\": {\"part\": \"BLOCK\"}}]}",
        "{\"transform\": {\"cmd\": [\"x\"]}, \"inputs\": [{\"commit\": {\"repo\": {\"name\": \"r\"}, \"id\": \"i\"}}]}",
        "{\"pipeline\": {\"name\": \"p\"}, \"input\": {\"git\": {\"url\": \"https://host/x.git\"}}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"input\": {\"atom\": {\"repo\": \"r\"}, \"pfs\": {\"repo\": \"r\"}}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism\": 2, \"parallelism_spec\": {\"constant\": 2}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism\": \"two\"}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism_spec\": {\"strategy\": \"AUTO\"}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism_spec\": {\"constant\": 1, \"coefficient\": 1}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism_spec\": {\"strategy\": \"CONSTANT\", \"coefficient\": 1}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism_spec\": {\"strategy\": 1}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"parallelism_spec\": {\"coefficient\": -1}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"chunk_spec\": {}, \"datum_set_spec\": {}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"tf_job\": {}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"transform\": {\"build\": {\"path\": \".\"}}}",
        "{\"pipeline\": {\"name\": \"p\"}, \"scale_down_threshold\": \"later\"}",
        "{\"pipeline\": {\"name\": \"p\"}, \"service\": {\"annotations\": \"x\"}}",
    ];
    check("old_forms", "old.json", &old);
}
