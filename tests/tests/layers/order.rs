//! The order of the folders and files in each crate: a module may import what comes after it, and its own neighbours.

/// The layers of one crate.
pub(crate) struct Layers {
    /// Folder of the crate's source, from the workspace.
    pub root: &'static str,
    /// Modules by layer, the highest first. A name means the module and everything below it.
    layers: &'static [&'static [&'static str]],
    /// Groups of files that may import each other, with the reason in a comment.
    loops: &'static [&'static [&'static str]],
}

impl Layers {
    /// Returns the layer of a file, 0 for the highest; the most specific name decides.
    pub(crate) fn of(&self, file: &str) -> usize {
        let mut found = (0, usize::MAX);
        for (layer, names) in self.layers.iter().enumerate() {
            for name in *names {
                let is_in = file
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
                if is_in && name.len() > found.0 {
                    found = (name.len(), layer);
                }
            }
        }
        found.1
    }

    /// Tells whether a group of files may import each other.
    pub(crate) fn allows(&self, cycle: &[String]) -> bool {
        self.loops
            .iter()
            .any(|group| cycle.iter().all(|file| group.contains(&file.as_str())))
    }
}

/// The crates of the workspace that have more than one file. `lib` is the crate's root: `lib.rs`, or `main.rs` of a
/// crate that is only a program.
pub(crate) const LAYERS: &[Layers] = &[
    Layers {
        root: "worker/src",
        layers: &[
            &["main"],
            &["settings", "lib"],
            &["service"],
            &["serve_metrics"],
            &["intake"],
            &["execute"],
            &["context"],
            &["slots"],
            &["pfs"],
            &["cache"],
            &["set_handle"],
            &["blocking", "config", "installation"],
            &["error"],
            &["runtime"],
            &["metrics", "thread_role", "beneath", "crash_mark"],
        ],
        loops: &[],
    },
    Layers {
        root: "worker/stage-init/src",
        layers: &[
            &["main"],
            &["lib"],
            &["server"],
            &["run"],
            &["links", "owner", "users", "explain"],
            &["folders", "frame", "protect", "sys", "temporary"],
        ],
        loops: &[],
    },
    Layers {
        root: "coordinator/src",
        layers: &[
            &["main"],
            &["lib"],
            &["run"],
            &["server", "term"],
            &["pages"],
            &["access"],
            &["services", "scheduler"],
            &["job"],
            &["leadership"],
            &["metadata"],
            &["live"],
            &["connections", "memory_budget"],
            &["tls"],
            &[
                "config",
                "allocator",
                "metrics",
                "fresh_id",
                "caller",
                "sealing",
                "panics",
                "installation",
            ],
            &["file_watch"],
        ],
        loops: &[],
    },
    Layers {
        root: "cli/src",
        layers: &[
            &["lib"],
            &["app"],
            &["commands", "up"],
            &["usage", "naming"],
            &["legacy"],
            &["context", "source"],
            &["wire"],
            &["output"],
            &["markdown"],
            &["args"],
            &["error", "suggest"],
            &["refs", "duration", "arity"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/store/src",
        layers: &[
            &["lib"],
            &["fuzzing"],
            &["check"],
            &["files"],
            &["tree"],
            &["pack"],
            &["chunk"],
            &["log", "store"],
            &["objects", "memory"],
            &["backend", "format", "offload"],
            &["sort"],
            &["error", "private"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/queue/src",
        layers: &[
            &["lib"],
            &["testing"],
            &["control", "purge", "subscribe", "puller", "publish", "server_config"],
            &["consumers"],
            &["streams"],
            &["api"],
            &["client"],
            &["access", "authenticator", "delivery"],
            &["error", "subjects"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/protocol/src",
        layers: &[
            &["lib"],
            &["messages", "bounded_log"],
            &["objects"],
            &["wire", "installation"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/model/src",
        layers: &[
            &["lib"],
            &["decide"],
            &["apply", "query"],
            &["state"],
            &["rejection", "event", "command"],
            &["spec_view", "entities"],
            &["refs", "datum"],
            &["names"],
            &["ids", "limits"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/spec/src",
        layers: &[
            &["lib"],
            &["parse"],
            &["defaults", "validate", "print"],
            &["legacy", "decode", "options"],
            &["schema", "split"],
            &["document"],
            &["json", "yaml"],
            &["types"],
            &["cron", "duration", "quantity", "number"],
            &["error"],
            &["node"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/api/src",
        layers: &[
            &["client", "pipeline", "file_broker", "codec"],
            &["retry"],
            &["config", "convert", "json"],
            &["address"],
            // The generated types.
            &["lib"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/telemetry/src",
        layers: &[&["lib"], &["environment", "left_out"]],
        loops: &[],
    },
    Layers {
        root: "common/filter/src",
        layers: &[
            &["lib"],
            &["parser", "eval"],
            &["functions"],
            &["order"],
            &["expr", "budget", "error"],
        ],
        loops: &[],
    },
    Layers {
        root: "common/glob/src",
        layers: &[&["lib"], &["matcher"], &["syntax", "steps"]],
        loops: &[],
    },
    Layers {
        root: "loadtest/src",
        layers: &[
            &["lib"],
            &[
                "accumulate",
                "big_file",
                "datums",
                "fan_out",
                "first_datum",
                "history",
                "load_shapes",
                "one_change",
                "restart",
                "s3",
                "small_files",
                "wide",
            ],
            &["contest", "peers", "scripted"],
            &["harness"],
            &["api", "image", "noise", "process", "report"],
            &["options"],
        ],
        loops: &[],
    },
];
