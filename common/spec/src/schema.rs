//! The fields of a spec and their types, as data.
//!
//! [`decode`](crate::decode) walks this table beside the tree of a source. The typed form is in
//! [`types`](crate::types); tests check that both have the same fields and that a printed spec reads back. Serde cannot
//! do the decoding: it knows neither positions nor two spellings of a field, and its errors give no advice.

/// A kind of object with its fields.
#[derive(Debug)]
pub(crate) struct ObjectSchema {
    pub fields: &'static [FieldSchema],
    /// The fields are alternatives: exactly one of them is set.
    pub one_of: bool,
    /// The field that a plain value in place of the object most likely means.
    pub short: Option<&'static str>,
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct FieldSchema {
    /// The name in snake case.
    pub name: &'static str,
    pub kind: FieldType,
}

/// The type of a field.
#[derive(Debug)]
pub(crate) enum FieldType {
    Bool,
    Int {
        min: i64,
        max: i128,
    },
    Float,
    Text,
    /// One of several names. With `numbered`, the index of a name is accepted too; `empty` is the meaning of "".
    Choice {
        names: &'static [&'static str],
        numbered: bool,
        empty: Option<&'static str>,
    },
    Duration,
    Timestamp,
    /// An object from text to text.
    Map,
    List(&'static FieldType),
    Object(&'static ObjectSchema),
}

const fn field(name: &'static str, kind: FieldType) -> FieldSchema {
    FieldSchema { name, kind }
}

const fn plain(fields: &'static [FieldSchema]) -> ObjectSchema {
    ObjectSchema {
        fields,
        one_of: false,
        short: None,
    }
}

const fn shorthand(fields: &'static [FieldSchema], short: &'static str) -> ObjectSchema {
    ObjectSchema {
        fields,
        one_of: false,
        short: Some(short),
    }
}

const fn at_least(min: i64, max: i128) -> FieldType {
    FieldType::Int { min, max }
}

const I64: FieldType = at_least(i64::MIN, i64::MAX as i128);
const COUNT: FieldType = at_least(0, i64::MAX as i128);
const PORT: FieldType = at_least(0, u16::MAX as i128);
const LINES: FieldType = FieldType::List(&FieldType::Text);
const RESOURCES: FieldType = FieldType::Object(&RESOURCE_SPEC);

/// A whole pipeline spec.
pub(crate) static PIPELINE_SPEC: ObjectSchema = plain(&[
    field("pipeline", FieldType::Object(&PIPELINE)),
    field("description", FieldType::Text),
    field("metadata", FieldType::Object(&METADATA)),
    field("transform", FieldType::Object(&TRANSFORM)),
    field("parallelism_spec", FieldType::Object(&PARALLELISM)),
    field("input", FieldType::Object(&INPUT)),
    field("output_branch", FieldType::Text),
    field("s3_out", FieldType::Bool),
    field("egress", FieldType::Object(&EGRESS)),
    field("update", FieldType::Bool),
    field("reprocess", FieldType::Bool),
    field("dry_run", FieldType::Bool),
    field(
        "reprocess_spec",
        FieldType::Choice {
            names: &["until_success", "every_job", "on_code_change"],
            numbered: false,
            empty: Some("until_success"),
        },
    ),
    field("salt", FieldType::Text),
    field("datum_tries", at_least(0, u32::MAX as i128)),
    field("datum_timeout", FieldType::Duration),
    field("job_timeout", FieldType::Duration),
    field("datum_set_spec", FieldType::Object(&DATUM_SET)),
    field("autoscaling", FieldType::Bool),
    field("resource_requests", RESOURCES),
    field("resource_limits", RESOURCES),
    field("sidecar_resource_requests", RESOURCES),
    field("sidecar_resource_limits", RESOURCES),
    field("scheduling_spec", FieldType::Object(&SCHEDULING)),
    field("tolerations", FieldType::List(&FieldType::Object(&TOLERATION))),
    field("pod_spec", FieldType::Text),
    field("pod_patch", FieldType::Text),
    field("service", FieldType::Object(&SERVICE)),
    field("spout", FieldType::Object(&SPOUT)),
    field("maximum_expected_uptime", FieldType::Duration),
    field("determined", FieldType::Object(&DETERMINED)),
    field("spec_commit", FieldType::Object(&COMMIT)),
]);

/// A document of defaults.
pub(crate) static DEFAULTS: ObjectSchema =
    plain(&[field("create_pipeline_request", FieldType::Object(&PIPELINE_SPEC))]);

/// An input, one of several kinds.
pub(crate) static INPUT: ObjectSchema = ObjectSchema {
    fields: &[
        field("pfs", FieldType::Object(&PFS)),
        field("cross", FieldType::List(&FieldType::Object(&INPUT))),
        field("union", FieldType::List(&FieldType::Object(&INPUT))),
        field("join", FieldType::List(&FieldType::Object(&INPUT))),
        field("group", FieldType::List(&FieldType::Object(&INPUT))),
        field("cron", FieldType::Object(&CRON)),
    ],
    one_of: true,
    short: None,
};

/// The target of an egress, one of several kinds.
pub(crate) static EGRESS: ObjectSchema = ObjectSchema {
    fields: &[
        field("URL", FieldType::Text),
        field("object_storage", FieldType::Object(&OBJECT_STORAGE)),
        field("sql_database", FieldType::Object(&SQL_DATABASE)),
    ],
    one_of: true,
    short: Some("URL"),
};

/// Files of a branch.
pub(crate) static PFS: ObjectSchema = plain(&[
    field("project", FieldType::Text),
    field("name", FieldType::Text),
    field("repo", FieldType::Text),
    field(
        "repo_type",
        FieldType::Choice {
            names: &["user", "meta", "spec"],
            numbered: false,
            empty: Some("user"),
        },
    ),
    field("branch", FieldType::Text),
    field("commit", FieldType::Text),
    field("glob", FieldType::Text),
    field("lazy", FieldType::Bool),
    field("empty_files", FieldType::Bool),
    field("s3", FieldType::Bool),
    field("join_on", FieldType::Text),
    field("outer_join", FieldType::Bool),
    field("group_by", FieldType::Text),
    field("trigger", FieldType::Object(&TRIGGER)),
    field("propagation_spec", FieldType::Object(&PROPAGATION)),
    field("reference", FieldType::Bool),
]);

static TRIGGER: ObjectSchema = plain(&[
    field("branch", FieldType::Text),
    field("size", FieldType::Text),
    field("commits", COUNT),
    field("rate_limit_spec", FieldType::Text),
    field("cron_spec", FieldType::Text),
    field("all", FieldType::Bool),
]);

static PROPAGATION: ObjectSchema = plain(&[field("never", FieldType::Bool)]);

static CRON: ObjectSchema = plain(&[
    field("name", FieldType::Text),
    field("project", FieldType::Text),
    field("repo", FieldType::Text),
    field("commit", FieldType::Text),
    field("spec", FieldType::Text),
    field("overwrite", FieldType::Bool),
    field("start", FieldType::Timestamp),
]);

static PIPELINE: ObjectSchema = shorthand(
    &[
        field("project", FieldType::Object(&PROJECT)),
        field("name", FieldType::Text),
    ],
    "name",
);

static PROJECT: ObjectSchema = shorthand(&[field("name", FieldType::Text)], "name");

static METADATA: ObjectSchema = plain(&[field("annotations", FieldType::Map), field("labels", FieldType::Map)]);

static TRANSFORM: ObjectSchema = shorthand(
    &[
        field("image", FieldType::Text),
        field("cmd", LINES),
        field("stdin", LINES),
        field("err_cmd", LINES),
        field("err_stdin", LINES),
        field("env", FieldType::Map),
        field("secrets", FieldType::List(&FieldType::Object(&SECRET))),
        field("image_pull_secrets", LINES),
        field("accept_return_code", FieldType::List(&I64)),
        field("debug", FieldType::Bool),
        field("user", FieldType::Text),
        field("working_dir", FieldType::Text),
        field("dockerfile", FieldType::Text),
        field("memory_volume", FieldType::Bool),
        field("datum_batching", FieldType::Bool),
        field("writable_inputs", FieldType::Bool),
        field(
            "isolation",
            FieldType::Choice {
                names: &["warm", "strict"],
                numbered: false,
                empty: Some("warm"),
            },
        ),
    ],
    "image",
);

static SECRET: ObjectSchema = shorthand(
    &[
        field("name", FieldType::Text),
        field("key", FieldType::Text),
        field("mount_path", FieldType::Text),
        field("env_var", FieldType::Text),
    ],
    "name",
);

static PARALLELISM: ObjectSchema = shorthand(&[field("constant", at_least(0, u64::MAX as i128))], "constant");

static OBJECT_STORAGE: ObjectSchema = shorthand(&[field("url", FieldType::Text)], "url");

static SQL_DATABASE: ObjectSchema = plain(&[
    field("url", FieldType::Text),
    field("file_format", FieldType::Object(&FILE_FORMAT)),
    field("secret", FieldType::Object(&SQL_SECRET)),
]);

static FILE_FORMAT: ObjectSchema = shorthand(
    &[
        field(
            "type",
            FieldType::Choice {
                names: &["UNKNOWN", "CSV", "JSON", "PARQUET"],
                numbered: true,
                empty: None,
            },
        ),
        field("columns", LINES),
    ],
    "type",
);

static SQL_SECRET: ObjectSchema = shorthand(&[field("name", FieldType::Text), field("key", FieldType::Text)], "name");

static DATUM_SET: ObjectSchema = shorthand(
    &[
        field("number", COUNT),
        field("size_bytes", COUNT),
        field("per_worker", COUNT),
    ],
    "number",
);

static RESOURCE_SPEC: ObjectSchema = plain(&[
    field("cpu", FieldType::Float),
    field("memory", FieldType::Text),
    field("gpu", FieldType::Object(&GPU)),
    field("disk", FieldType::Text),
]);

static GPU: ObjectSchema = shorthand(&[field("type", FieldType::Text), field("number", COUNT)], "number");

static SCHEDULING: ObjectSchema = plain(&[
    field("node_selector", FieldType::Map),
    field("priority_class_name", FieldType::Text),
]);

static TOLERATION: ObjectSchema = plain(&[
    field("key", FieldType::Text),
    field(
        "operator",
        FieldType::Choice {
            names: &["EMPTY", "EXISTS", "EQUAL"],
            numbered: true,
            empty: None,
        },
    ),
    field("value", FieldType::Text),
    field(
        "effect",
        FieldType::Choice {
            names: &["ALL_EFFECTS", "NO_SCHEDULE", "PREFER_NO_SCHEDULE", "NO_EXECUTE"],
            numbered: true,
            empty: None,
        },
    ),
    field("toleration_seconds", I64),
]);

static SERVICE: ObjectSchema = plain(&[
    field("internal_port", PORT),
    field("external_port", PORT),
    field("ip", FieldType::Text),
    field(
        "type",
        FieldType::Choice {
            names: &["NodePort", "ClusterIP", "LoadBalancer"],
            numbered: false,
            empty: Some("NodePort"),
        },
    ),
]);

static SPOUT: ObjectSchema = plain(&[field("service", FieldType::Object(&SERVICE))]);

static DETERMINED: ObjectSchema = plain(&[field("workspaces", LINES)]);

static COMMIT: ObjectSchema = plain(&[
    field("id", FieldType::Text),
    field("repo", FieldType::Object(&REPO)),
    field("branch", FieldType::Object(&BRANCH)),
]);

static BRANCH: ObjectSchema = plain(&[field("repo", FieldType::Object(&REPO)), field("name", FieldType::Text)]);

static REPO: ObjectSchema = plain(&[
    field("project", FieldType::Object(&PROJECT)),
    field("name", FieldType::Text),
    field("type", FieldType::Text),
]);

#[cfg(test)]
mod tests;
