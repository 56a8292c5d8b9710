//! Properties of all specs and all texts.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use howdah_spec::*;
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z]{1,8}",
        any::<String>(),
        Just("# not: a [comment]\n---\n\"quoted\"\\".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9_-]{0,12}".prop_filter("a branch must not look like an id", |name| name != "out")
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[A-Z_]{1,6}", text(), 0..3)
}

fn limit() -> impl Strategy<Value = Option<Duration>> {
    of((1_u64..1_000_000_000, 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)))
}

fn glob() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        Just("/*".to_owned()),
        Just("/**".to_owned()),
        Just("/(*)/{a,b}*(x|y)[!q].csv".to_owned()),
        "/[a-z]{1,5}",
    ]
}

fn trigger() -> impl Strategy<Value = TriggerSpec> {
    (name(), any::<bool>(), 0_u64..i64::MAX as u64).prop_map(|(branch, all, commits)| TriggerSpec {
        branch: format!("watched-{branch}"),
        size: "100MiB".to_owned(),
        commits,
        rate_limit_spec: "@every 5m".to_owned(),
        cron_spec: String::new(),
        all,
    })
}

/// Generates leaves; `number` gives them different repos and names afterwards.
fn leaf() -> impl Strategy<Value = Input> {
    let kind = prop_oneof![Just(RepoType::User), Just(RepoType::Meta), Just(RepoType::Spec)];
    let pfs = (kind, glob(), any::<[bool; 5]>(), texts(), of(trigger())).prop_map(
        |(repo_type, glob, [lazy, empty_files, outer_join, reference, never], texts, trigger)| {
            let text = |index: usize| texts.get(index).cloned().unwrap_or_default();
            Input::Pfs(PfsInput {
                repo_type,
                glob,
                lazy,
                empty_files,
                outer_join,
                reference,
                propagation_spec: never.then_some(PropagationSpec { never }),
                join_on: text(0),
                group_by: text(1),
                trigger,
                ..PfsInput::default()
            })
        },
    );
    let cron = (any::<bool>(), of(0_i64..4_000_000_000)).prop_map(|(overwrite, start)| {
        Input::Cron(CronInput {
            spec: "*/5 8-18 * * mon-fri".to_owned(),
            overwrite,
            start: start.and_then(|second| Timestamp::from_second(second).ok()),
            ..CronInput::default()
        })
    });
    prop_oneof![4 => pfs, 1 => cron]
}

fn input() -> impl Strategy<Value = Input> {
    let tree = leaf().prop_recursive(3, 12, 4, |part| {
        let parts = vec(part, 1..4);
        prop_oneof![
            parts.clone().prop_map(Input::Cross),
            parts.clone().prop_map(Input::Union),
            parts.clone().prop_map(Input::Join),
            parts.prop_map(Input::Group),
        ]
    });
    tree.prop_map(|mut tree| {
        number(&mut tree, &mut 0);
        tree
    })
}

fn number(input: &mut Input, next: &mut usize) {
    match input {
        Input::Pfs(pfs) => {
            *next += 1;
            pfs.repo = format!("repo{next}");
            pfs.name = format!("input-{}", *next * 7 % 10);
            pfs.name.push_str(&next.to_string());
        }
        Input::Cron(cron) => {
            *next += 1;
            cron.name = format!("cron{next}");
        }
        _ => {}
    }
    input.parts_mut().iter_mut().for_each(|part| number(part, next));
}

fn transform() -> impl Strategy<Value = Transform> {
    let secret = (name(), text(), "/[a-z]{1,5}").prop_map(|(name, key, mount_path)| SecretMount {
        name,
        key,
        mount_path,
        env_var: String::new(),
    });
    (
        vec(texts(), 6),
        map(),
        vec(secret, 0..2),
        vec(any::<i64>(), 0..3),
        any::<[bool; 5]>(),
        vec(text(), 3),
    )
        .prop_map(|(lists, env, secrets, accept_return_code, flags, texts)| Transform {
            image: "example/image:1".to_owned(),
            cmd: lists[0].clone(),
            stdin: lists[1].clone(),
            err_cmd: lists[2].clone(),
            err_stdin: lists[3].clone(),
            env,
            secrets,
            image_pull_secrets: lists[4].clone(),
            accept_return_code,
            debug: flags[0],
            user: texts[0].clone(),
            working_dir: texts[1].clone(),
            dockerfile: texts[2].clone(),
            memory_volume: flags[1],
            datum_batching: flags[2],
            writable_inputs: flags[3],
            isolation: if flags[4] { Isolation::Strict } else { Isolation::Warm },
        })
}

fn resources() -> impl Strategy<Value = Option<ResourceSpec>> {
    let gpu = of((text(), 0_u64..100).prop_map(|(kind, number)| GpuSpec { kind, number }));
    let quantity = prop_oneof![Just(""), Just("64Mi"), Just("1.5G"), Just("129e6")];
    of(
        (0.0..1e6_f64, quantity, gpu).prop_map(|(cpu, quantity, gpu)| ResourceSpec {
            cpu,
            memory: quantity.to_owned(),
            gpu,
            disk: quantity.to_owned(),
        }),
    )
}

fn toleration() -> impl Strategy<Value = Toleration> {
    let operator = prop_oneof![Just(TolerationOperator::Exists), Just(TolerationOperator::Equal)];
    let effect = prop_oneof![
        Just(TaintEffect::AllEffects),
        Just(TaintEffect::NoSchedule),
        Just(TaintEffect::PreferNoSchedule),
        Just(TaintEffect::NoExecute),
    ];
    (text(), operator, effect, of(any::<i64>())).prop_map(|(key, operator, effect, toleration_seconds)| Toleration {
        value: key.clone(),
        key,
        operator,
        effect,
        toleration_seconds,
    })
}

fn egress() -> impl Strategy<Value = Egress> {
    let kind = prop_oneof![
        Just(FileFormatKind::Csv),
        Just(FileFormatKind::Json),
        Just(FileFormatKind::Parquet)
    ];
    let sql = (kind, texts()).prop_map(|(kind, columns)| SqlDatabaseEgress {
        url: "postgres://host/db".to_owned(),
        file_format: Some(FileFormat { kind, columns }),
        secret: Some(SqlSecret {
            name: "s".to_owned(),
            key: "k".to_owned(),
        }),
    });
    let object = Just(ObjectStorageEgress {
        url: "minio://b/p".to_owned(),
    });
    prop_oneof![
        Just(Egress::Url("s3://b/p".to_owned())),
        object.prop_map(Egress::ObjectStorage),
        sql.prop_map(Egress::SqlDatabase),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let kind = prop_oneof![
        Just(ServiceType::NodePort),
        Just(ServiceType::ClusterIP),
        Just(ServiceType::LoadBalancer)
    ];
    (1_u16.., any::<u16>(), text(), kind).prop_map(|(internal_port, external_port, ip, kind)| Service {
        internal_port,
        external_port,
        ip,
        kind,
    })
}

fn commit() -> impl Strategy<Value = SpecCommit> {
    (name(), name(), name()).prop_map(|(project, name, id)| {
        let kind = "spec".to_owned();
        let repo = Some(SpecRepo { project, name, kind });
        let name = "master".to_owned();
        let branch = Some(SpecBranch {
            repo: repo.clone(),
            name,
        });
        SpecCommit { id, repo, branch }
    })
}

/// Generates well-formed specs with derived fields.
fn spec() -> impl Strategy<Value = PipelineSpec> {
    let what = (name(), name(), text(), transform(), 1_u64.., of(input()), name());
    let flags = any::<[bool; 5]>();
    let limits = (
        1_u32..,
        limit(),
        limit(),
        limit(),
        of(any::<[u32; 3]>()),
        of("[0-9a-f]{1,32}"),
        prop_oneof![
            Just(ReprocessSpec::UntilSuccess),
            Just(ReprocessSpec::EveryJob),
            Just(ReprocessSpec::OnCodeChange)
        ],
    );
    let placement = (
        resources(),
        resources(),
        vec(toleration(), 0..3),
        of((map(), map())),
        of((map(), text())),
        any::<bool>(),
    );
    let targets = (
        of(egress()),
        of(service()),
        of(of(service())),
        of(texts()),
        of(commit()),
    );
    (what, flags, limits, placement, targets).prop_map(|(what, flags, limits, placement, targets)| {
        let (project, name, description, transform, parallelism, input, output_branch) = what;
        let (datum_tries, datum_timeout, job_timeout, maximum_expected_uptime, sets, salt, reprocess_spec) = limits;
        let (requests, limits, tolerations, metadata, scheduling, pods) = placement;
        let (egress, service, spout, workspaces, spec_commit) = targets;
        // Fields that exclude each other are not set together.
        let spout = spout.filter(|_| !flags[0] && !flags[4]);
        let service = service.filter(|_| spout.is_none() && !flags[0]);
        let parallelism = if service.is_some() { 1 } else { parallelism };
        let spec_commit = spec_commit.filter(|_| !flags[1]);
        let spec = PipelineSpec {
            pipeline: PipelineId {
                project,
                name: format!("p{name}"),
            },
            description,
            metadata: metadata.map(|(annotations, labels)| Metadata { annotations, labels }),
            transform,
            parallelism,
            input,
            output_branch,
            s3_out: flags[0],
            egress,
            update: flags[1],
            reprocess: flags[2],
            dry_run: flags[3],
            reprocess_spec,
            salt,
            datum_tries,
            datum_timeout,
            job_timeout,
            datum_set_spec: sets.map(|[number, size, workers]| DatumSetSpec {
                number: number.into(),
                size_bytes: size.into(),
                per_worker: workers.into(),
            }),
            autoscaling: flags[4],
            sidecar_resource_requests: requests.clone(),
            sidecar_resource_limits: limits.clone(),
            resource_requests: requests,
            resource_limits: limits,
            scheduling_spec: scheduling.map(|(node_selector, priority_class_name)| SchedulingSpec {
                node_selector,
                priority_class_name,
            }),
            tolerations,
            pod_spec: if pods { "{\"a\": 1}".to_owned() } else { String::new() },
            pod_patch: if pods { "[]".to_owned() } else { String::new() },
            service,
            spout: spout.map(|service| Spout { service }),
            maximum_expected_uptime,
            determined: workspaces.map(|workspaces| Determined { workspaces }),
            spec_commit,
        };
        from_effective(&to_json(&spec), "default", Timestamp::UNIX_EPOCH).expect("a well-formed spec")
    })
}

fn read(text: &[u8]) -> Result<Vec<ParsedSpec>, SpecError> {
    parse("spec", text, &ParseOptions::default())
}

/// Converts every key of a JSON value to snake case.
fn snake(json: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match json {
        Value::Array(items) => Value::Array(items.iter().map(snake).collect()),
        Value::Object(fields) => {
            let key = |key: &String| {
                // Names of variables, labels and the like are data.
                let is_data = key == "URL" || key.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
                let lower = |c: char| {
                    if c.is_ascii_uppercase() {
                        format!("_{}", c.to_ascii_lowercase())
                    } else {
                        c.to_string()
                    }
                };
                if is_data {
                    key.clone()
                } else {
                    key.chars().map(lower).collect()
                }
            };
            Value::Object(fields.iter().map(|(name, value)| (key(name), snake(value))).collect())
        }
        other => other.clone(),
    }
}

/// Generates any JSON value.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let string = prop_oneof![
        any::<String>(),
        "[-:?#,\\[\\]{}&*!|>'\"%@` a0.\n\t]{0,6}",
        "(  ?x ?\n){0,3}",
        "[yn~<]|true|null|on|0x1|1_0|1e3|-?\\.inf|---|\\.\\.\\.",
        "x{120,1100}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e18..1e18).prop_map(Value::from),
        string.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let fields = vec((string.clone(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_printed_document_reads_back(value in json()) {
        let text = to_yaml(&value);
        prop_assert_eq!(from_yaml(&text), Ok(value), "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_printed_spec_reads_back(spec in spec()) {
        for text in [to_json(&spec).to_string(), to_text(&spec), snake(&to_json(&spec)).to_string()] {
            let parsed = read(text.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(parsed.len(), 1);
            prop_assert_eq!(&parsed[0].spec, &spec);
        }
    }

    #[test]
    fn the_serde_form_is_the_canonical_form(spec in spec()) {
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(&serde_json::from_str::<PipelineSpec>(&text).unwrap(), &spec);
    }

    #[test]
    fn effective_specs_are_fixed_points(spec in spec()) {
        let again = from_effective(&to_json(&spec), "elsewhere", Timestamp::MAX);
        // Only the start of a cron input without one depends on the clock, and the spec has it already.
        prop_assert_eq!(again, Ok(spec));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[-{}\\[\\]:,\"'#&*!|>%@? \n\ta-z0-9._~<]{0,120}") {
        let _ = read(text.as_bytes());
    }

    #[test]
    fn damaged_specs_never_panic(
        spec in spec(),
        wounds in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let mut bytes = to_text(&spec).into_bytes();
        for (place, byte, kind) in wounds {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        if let Ok(parsed) = read(&bytes) {
            for one in parsed {
                let _ = validate(&one.spec);
                let _ = unsupported(&one.spec);
            }
        }
    }

    #[test]
    fn schedules_durations_and_quantities_never_panic(text in "[-0-9a-zA-Z@*/,.? =_µ]{0,24}") {
        let _ = howdah_spec::cron::Schedule::parse(&text);
        let _ = howdah_spec::duration::parse(&text);
        let _ = howdah_spec::quantity::bytes(&text);
        let _ = howdah_spec::quantity::size(&text);
    }

    #[test]
    fn next_times_are_later_and_match(after in 0_i64..4_000_000_000, minute in 0_u8..60, hour in 0_u8..24) {
        let after = Timestamp::from_second(after).unwrap();
        let schedule = howdah_spec::cron::Schedule::parse(&format!("{minute} {hour} * * *")).unwrap();
        let next = schedule.next_after(after).unwrap();
        prop_assert!(next > after && next.as_second() - after.as_second() <= 24 * 3600);
        let of_day = next.as_second() % 86_400;
        prop_assert_eq!(of_day, i64::from(hour) * 3600 + i64::from(minute) * 60);
    }
}
