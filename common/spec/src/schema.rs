//! The fields of a spec and their types, as data.
//!
//! [`decode`](crate::decode) walks this table beside the tree of a text. The typed form is in
//! [`types`](crate::types); a test holds the two together.

/// A kind of object with its fields.
#[derive(Debug)]
pub(crate) struct Object {
    pub fields: &'static [Field],
    /// Exactly one field must be set.
    pub one_of: bool,
    /// The field that people mean when they write a bare value instead of the object.
    pub short: Option<&'static str>,
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    /// Name in snake case.
    pub name: &'static str,
    pub kind: Type,
}

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Type {
    Bool,
    Int {
        min: i64,
        max: i128,
    },
    Float,
    Text,
    /// One of some names. Enumerations of the wire may be given by number; `empty` is what "" stands for.
    Choice {
        names: &'static [&'static str],
        numbered: bool,
        empty: Option<&'static str>,
    },
    Duration,
    Timestamp,
    /// Text to text.
    Map,
    List(&'static Type),
    Object(&'static Object),
}

const fn field(name: &'static str, kind: Type) -> Field {
    Field { name, kind }
}

const fn plain(fields: &'static [Field]) -> Object {
    Object {
        fields,
        one_of: false,
        short: None,
    }
}

const fn shorthand(fields: &'static [Field], short: &'static str) -> Object {
    Object {
        fields,
        one_of: false,
        short: Some(short),
    }
}

const fn at_least(min: i64, max: i128) -> Type {
    Type::Int { min, max }
}

const I64: Type = at_least(i64::MIN, i64::MAX as i128);
const COUNT: Type = at_least(0, i64::MAX as i128);
const PORT: Type = at_least(0, u16::MAX as i128);
const LINES: Type = Type::List(&Type::Text);
const RESOURCES: Type = Type::Object(&RESOURCE_SPEC);

/// A whole pipeline spec.
pub(crate) static PIPELINE_SPEC: Object = plain(&[
    field("pipeline", Type::Object(&PIPELINE)),
    field("description", Type::Text),
    field("metadata", Type::Object(&METADATA)),
    field("transform", Type::Object(&TRANSFORM)),
    field("parallelism_spec", Type::Object(&PARALLELISM)),
    field("input", Type::Object(&INPUT)),
    field("output_branch", Type::Text),
    field("s3_out", Type::Bool),
    field("egress", Type::Object(&EGRESS)),
    field("update", Type::Bool),
    field("reprocess", Type::Bool),
    field("dry_run", Type::Bool),
    field(
        "reprocess_spec",
        Type::Choice {
            names: &["until_success", "every_job", "on_code_change"],
            numbered: false,
            empty: Some("until_success"),
        },
    ),
    field("salt", Type::Text),
    field("datum_tries", at_least(0, u32::MAX as i128)),
    field("datum_timeout", Type::Duration),
    field("job_timeout", Type::Duration),
    field("datum_set_spec", Type::Object(&DATUM_SET)),
    field("autoscaling", Type::Bool),
    field("resource_requests", RESOURCES),
    field("resource_limits", RESOURCES),
    field("sidecar_resource_requests", RESOURCES),
    field("sidecar_resource_limits", RESOURCES),
    field("scheduling_spec", Type::Object(&SCHEDULING)),
    field("tolerations", Type::List(&Type::Object(&TOLERATION))),
    field("pod_spec", Type::Text),
    field("pod_patch", Type::Text),
    field("service", Type::Object(&SERVICE)),
    field("spout", Type::Object(&SPOUT)),
    field("maximum_expected_uptime", Type::Duration),
    field("determined", Type::Object(&DETERMINED)),
    field("spec_commit", Type::Object(&COMMIT)),
]);

/// A document of defaults.
pub(crate) static DEFAULTS: Object = plain(&[field("create_pipeline_request", Type::Object(&PIPELINE_SPEC))]);

/// An input, one of several kinds.
pub(crate) static INPUT: Object = Object {
    fields: &[
        field("pfs", Type::Object(&PFS)),
        field("cross", Type::List(&Type::Object(&INPUT))),
        field("union", Type::List(&Type::Object(&INPUT))),
        field("join", Type::List(&Type::Object(&INPUT))),
        field("group", Type::List(&Type::Object(&INPUT))),
        field("cron", Type::Object(&CRON)),
    ],
    one_of: true,
    short: None,
};

/// The target of an egress, one of several kinds.
pub(crate) static EGRESS: Object = Object {
    fields: &[
        field("URL", Type::Text),
        field("object_storage", Type::Object(&OBJECT_STORAGE)),
        field("sql_database", Type::Object(&SQL_DATABASE)),
    ],
    one_of: true,
    short: Some("URL"),
};

/// Files of a branch.
pub(crate) static PFS: Object = plain(&[
    field("project", Type::Text),
    field("name", Type::Text),
    field("repo", Type::Text),
    field(
        "repo_type",
        Type::Choice {
            names: &["user", "meta", "spec"],
            numbered: false,
            empty: Some("user"),
        },
    ),
    field("branch", Type::Text),
    field("commit", Type::Text),
    field("glob", Type::Text),
    field("lazy", Type::Bool),
    field("empty_files", Type::Bool),
    field("s3", Type::Bool),
    field("join_on", Type::Text),
    field("outer_join", Type::Bool),
    field("group_by", Type::Text),
    field("trigger", Type::Object(&TRIGGER)),
    field("propagation_spec", Type::Object(&PROPAGATION)),
    field("reference", Type::Bool),
]);

static TRIGGER: Object = plain(&[
    field("branch", Type::Text),
    field("size", Type::Text),
    field("commits", COUNT),
    field("rate_limit_spec", Type::Text),
    field("cron_spec", Type::Text),
    field("all", Type::Bool),
]);

static PROPAGATION: Object = plain(&[field("never", Type::Bool)]);

static CRON: Object = plain(&[
    field("name", Type::Text),
    field("project", Type::Text),
    field("repo", Type::Text),
    field("commit", Type::Text),
    field("spec", Type::Text),
    field("overwrite", Type::Bool),
    field("start", Type::Timestamp),
]);

static PIPELINE: Object = shorthand(
    &[field("project", Type::Object(&PROJECT)), field("name", Type::Text)],
    "name",
);

static PROJECT: Object = shorthand(&[field("name", Type::Text)], "name");

static METADATA: Object = plain(&[field("annotations", Type::Map), field("labels", Type::Map)]);

static TRANSFORM: Object = shorthand(
    &[
        field("image", Type::Text),
        field("cmd", LINES),
        field("stdin", LINES),
        field("err_cmd", LINES),
        field("err_stdin", LINES),
        field("env", Type::Map),
        field("secrets", Type::List(&Type::Object(&SECRET))),
        field("image_pull_secrets", LINES),
        field("accept_return_code", Type::List(&I64)),
        field("debug", Type::Bool),
        field("user", Type::Text),
        field("working_dir", Type::Text),
        field("dockerfile", Type::Text),
        field("memory_volume", Type::Bool),
        field("datum_batching", Type::Bool),
        field("writable_inputs", Type::Bool),
    ],
    "image",
);

static SECRET: Object = shorthand(
    &[
        field("name", Type::Text),
        field("key", Type::Text),
        field("mount_path", Type::Text),
        field("env_var", Type::Text),
    ],
    "name",
);

static PARALLELISM: Object = shorthand(&[field("constant", at_least(0, u64::MAX as i128))], "constant");

static OBJECT_STORAGE: Object = shorthand(&[field("url", Type::Text)], "url");

static SQL_DATABASE: Object = plain(&[
    field("url", Type::Text),
    field("file_format", Type::Object(&FILE_FORMAT)),
    field("secret", Type::Object(&SQL_SECRET)),
]);

static FILE_FORMAT: Object = shorthand(
    &[
        field(
            "type",
            Type::Choice {
                names: &["UNKNOWN", "CSV", "JSON", "PARQUET"],
                numbered: true,
                empty: None,
            },
        ),
        field("columns", LINES),
    ],
    "type",
);

static SQL_SECRET: Object = shorthand(&[field("name", Type::Text), field("key", Type::Text)], "name");

static DATUM_SET: Object = shorthand(
    &[
        field("number", COUNT),
        field("size_bytes", COUNT),
        field("per_worker", COUNT),
    ],
    "number",
);

static RESOURCE_SPEC: Object = plain(&[
    field("cpu", Type::Float),
    field("memory", Type::Text),
    field("gpu", Type::Object(&GPU)),
    field("disk", Type::Text),
]);

static GPU: Object = shorthand(&[field("type", Type::Text), field("number", COUNT)], "number");

static SCHEDULING: Object = plain(&[
    field("node_selector", Type::Map),
    field("priority_class_name", Type::Text),
]);

static TOLERATION: Object = plain(&[
    field("key", Type::Text),
    field(
        "operator",
        Type::Choice {
            names: &["EMPTY", "EXISTS", "EQUAL"],
            numbered: true,
            empty: None,
        },
    ),
    field("value", Type::Text),
    field(
        "effect",
        Type::Choice {
            names: &["ALL_EFFECTS", "NO_SCHEDULE", "PREFER_NO_SCHEDULE", "NO_EXECUTE"],
            numbered: true,
            empty: None,
        },
    ),
    field("toleration_seconds", I64),
]);

static SERVICE: Object = plain(&[
    field("internal_port", PORT),
    field("external_port", PORT),
    field("ip", Type::Text),
    field(
        "type",
        Type::Choice {
            names: &["NodePort", "ClusterIP", "LoadBalancer"],
            numbered: false,
            empty: Some("NodePort"),
        },
    ),
]);

static SPOUT: Object = plain(&[field("service", Type::Object(&SERVICE))]);

static DETERMINED: Object = plain(&[field("workspaces", LINES)]);

static COMMIT: Object = plain(&[
    field("id", Type::Text),
    field("repo", Type::Object(&REPO)),
    field("branch", Type::Object(&BRANCH)),
]);

static BRANCH: Object = plain(&[field("repo", Type::Object(&REPO)), field("name", Type::Text)]);

static REPO: Object = plain(&[
    field("project", Type::Object(&PROJECT)),
    field("name", Type::Text),
    field("type", Type::Text),
]);
