use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::address::Address;

/// Every key that other clients allow in a context.
const ALLOWED: [&str; 12] = [
    "source",
    "pachd_address",
    "server_cas",
    "session_token",
    "active_transaction",
    "cluster_name",
    "auth_info",
    "namespace",
    "cluster_deployment_id",
    "project",
    "enterprise_server",
    "port_forwarders",
];

struct Home {
    folder: tempfile::TempDir,
    env: Env,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Env {
            config: Some(folder.path().join("nested").join("config.json")),
            ..Env::default()
        };
        Self { folder, env }
    }

    fn with(text: &Value) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.folder.path().join("nested")).unwrap();
        std::fs::write(home.env.config.as_ref().unwrap(), text.to_string()).unwrap();
        home
    }

    fn load(&self) -> ConfigFile {
        ConfigFile::load(&self.env).unwrap()
    }

    fn stored(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.env.config.as_ref().unwrap()).unwrap()).unwrap()
    }
}

#[test]
fn without_a_file_the_server_is_on_this_machine() {
    let home = Home::new();
    let target = home.load().target(&home.env).unwrap();
    assert_eq!(target.address, Address::default());
    assert_eq!(target.context.as_deref(), Some("default"));
    assert_eq!(target.project, "default");
}

#[test]
fn the_home_folder_holds_the_file_unless_another_is_named() {
    let env = Env {
        home: Some(PathBuf::from("/home/x")),
        ..Env::default()
    };
    assert_eq!(env.path().unwrap(), PathBuf::from("/home/x/.pachyderm/config.json"));
    assert!(matches!(Env::default().path(), Err(ConfigError::NoHome)));
}

#[test]
fn connecting_makes_an_active_context_with_known_keys_only() {
    let home = Home::new();
    let mut file = home.load();
    let name = file.connect(&"example.org:650".parse().unwrap());
    let context = file.context_mut(&home.env).unwrap();
    context.session_token = "t".into();
    context.active_transaction = "a".into();
    context.project = "vision".into();
    context.cluster_deployment_id = "d".into();
    context.port_forwarders.insert("pachd".into(), 1);
    file.save().unwrap();

    let stored = home.stored();
    assert_eq!(stored["v2"]["active_context"], json!(name));
    assert_eq!(stored["user_id"].as_str().unwrap().len(), 32);
    for context in stored["v2"]["contexts"].as_object().unwrap().values() {
        for key in context.as_object().unwrap().keys() {
            assert!(ALLOWED.contains(&key.as_str()), "{key}");
        }
    }
    let target = home.load().target(&home.env).unwrap();
    assert_eq!(target.address.to_string(), "grpc://example.org:650");
    assert_eq!(target.context, Some(name));
    assert_eq!(target.token.as_deref(), Some("t"));
    assert_eq!(target.transaction.as_deref(), Some("a"));
    assert_eq!(target.project, "vision");
}

#[test]
fn the_file_of_another_client_keeps_its_values() {
    let home = Home::with(&json!({
        "user_id": "0123456789abcdef0123456789abcdef",
        "v2": {
            "active_context": "local",
            "contexts": {"local": {
                "source": 2, "pachd_address": "grpc://127.0.0.1:30650", "session_token": "",
                "active_transaction": "", "project": "default", "server_cas": "", "namespace": "",
                "cluster_name": "", "auth_info": "", "cluster_deployment_id": "",
            }},
            "metrics": true,
            "max_shell_completions": 64,
        },
    }));
    home.load().save().unwrap();
    let stored = home.stored();
    assert_eq!(stored["user_id"], "0123456789abcdef0123456789abcdef");
    assert_eq!(stored["v2"]["metrics"], true);
    assert_eq!(stored["v2"]["max_shell_completions"], 64);
    assert_eq!(stored["v2"]["contexts"]["local"]["source"], 2);
    assert_eq!(
        stored["v2"]["contexts"]["local"]["pachd_address"],
        "grpc://127.0.0.1:30650"
    );
}

#[test]
fn a_file_of_1x_becomes_the_context_default() {
    let home = Home::with(&json!({
        "user_id": "u", "v1": {"pachd_address": "10.0.0.1:650", "session_token": "t"},
    }));
    let file = home.load();
    let target = file.target(&home.env).unwrap();
    assert_eq!(target.address, Address::tcp("10.0.0.1", 650));
    assert_eq!(target.context.as_deref(), Some("default"));
    file.save().unwrap();
    let stored = home.stored();
    assert!(stored.get("v1").is_none());
    assert_eq!(stored["v2"]["contexts"]["default"]["pachd_address"], "10.0.0.1:650");
}

#[test]
fn the_environment_wins_over_the_file() {
    let home = Home::with(&json!({"v2": {"active_context": "a", "contexts": {
        "a": {"source": 0, "pachd_address": "a:1", "project": "p"},
        "b": {"source": 0, "port_forwarders": {"pachd": 4}},
    }}}));
    let file = home.load();
    let with = |change: fn(&mut Env)| {
        let mut env = home.env.clone();
        change(&mut env);
        file.target(&env)
    };
    let by_context = with(|env| env.context = Some("b".into())).unwrap();
    assert_eq!(by_context.address, Address::tcp("localhost", 4));
    let by_address = with(|env| env.address = Some("grpcs://c:3".into())).unwrap();
    assert_eq!(by_address.address.to_string(), "grpcs://c:3");
    assert_eq!(by_address.context, None);
    assert_eq!(by_address.project, "p");
    let in_worker = with(|env| env.peer = Some("d:4".into())).unwrap();
    assert_eq!(in_worker.address, Address::tcp("d", 4));

    let missing = with(|env| env.context = Some("z".into())).unwrap_err();
    assert_eq!(missing.to_string(), "context \"z\" does not exist; there are: a, b");
    let bad = with(|env| env.address = Some("pachd://x".into())).unwrap_err();
    assert!(bad.to_string().starts_with("PACHD_ADDRESS: "), "{bad}");
}

#[test]
fn a_broken_file_is_named() {
    let home = Home::with(&json!({"v2": 7}));
    let error = ConfigFile::load(&home.env).unwrap_err().to_string();
    assert!(error.contains("config.json is not valid"), "{error}");
}

/// What the JupyterLab extension writes, through the Python SDK: every field of a context, `null` if it is not set.
fn of_jupyter_lab() -> Value {
    json!({
        "user_id": "0123456789abcdef0123456789abcdef",
        "v2": {
            "active_context": "jupyter-localhost:30650",
            "contexts": {"jupyter-localhost:30650": {
                "source": null, "pachd_address": "localhost:30650", "server_cas": null, "session_token": null,
                "active_transaction": null, "cluster_name": null, "auth_info": null, "namespace": null,
                "cluster_deployment_id": null, "project": null, "enterprise_server": false, "port_forwarders": null,
            }},
            "metrics": true,
        },
    })
}

#[test]
fn the_file_of_jupyter_lab_is_read_and_written() {
    let home = Home::with(&of_jupyter_lab());
    let mut file = home.load();
    let target = file.target(&home.env).unwrap();
    assert_eq!(target.address, Address::tcp("localhost", 30650));
    assert_eq!(target.context.as_deref(), Some("jupyter-localhost:30650"));
    assert_eq!((target.token, target.transaction), (None, None));
    assert_eq!(target.project, "default");
    file.context_mut(&home.env).unwrap().session_token = "t".into();
    file.save().unwrap();
    let context = home.stored()["v2"]["contexts"]["jupyter-localhost:30650"].clone();
    assert_eq!(
        context,
        json!({"pachd_address": "localhost:30650", "session_token": "t"})
    );
    assert_eq!(home.stored()["v2"]["metrics"], true);
}

#[test]
fn null_is_not_set_in_every_place() {
    /// Lists the places of all values.
    fn places(value: &Value, at: &str, all: &mut Vec<String>) {
        for (key, inside) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{key}");
            places(inside, &at, all);
            all.push(at);
        }
    }
    let full = json!({
        "user_id": "u",
        "v1": {"pachd_address": "b:1", "server_cas": "x", "session_token": "t", "active_transaction": "a"},
        "v2": {
            "active_context": "a",
            "active_enterprise_context": "e",
            "contexts": {"a": {
                "source": 2, "pachd_address": "a:1", "server_cas": "x", "session_token": "t",
                "active_transaction": "y", "cluster_name": "c", "auth_info": "i", "namespace": "n",
                "port_forwarders": {"pachd": 5}, "cluster_deployment_id": "d", "enterprise_server": true,
                "project": "p",
            }},
            "metrics": true,
            "max_shell_completions": 64,
        },
    });
    let mut all = Vec::new();
    places(&full, "", &mut all);
    assert_eq!(all.len(), 26);
    for place in &all {
        let mut with_null = full.clone();
        *with_null.pointer_mut(place).unwrap() = Value::Null;
        let mut without = full.clone();
        let (above, key) = place.rsplit_once('/').unwrap();
        without
            .pointer_mut(above)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key)
            .unwrap();
        let expected = Home::with(&without).load().config;
        assert_eq!(Home::with(&with_null).load().config, expected, "{place}");
    }
    assert_eq!(
        Home::with(&json!({"user_id": null, "v1": null, "v2": null}))
            .load()
            .config,
        Config::default()
    );
}

#[test]
fn keys_of_other_programs_are_kept() {
    let mut text = json!({
        "user_id": "u",
        "theirs": {"deep": [1, null, {"x": 1.5}]},
        "v2": {
            "active_context": "a",
            "contexts": {"a": {
                "source": "IMPORTED", "pachd_address": "a:1", "nothing": null, "id_token": "secret",
            }},
            "metrics": true,
            "also": null,
        },
    });
    let home = Home::with(&text);
    let mut file = home.load();
    file.context_mut(&home.env).unwrap().project = "vision".into();
    file.save().unwrap();
    text["v2"]["contexts"]["a"]["project"] = json!("vision");
    assert_eq!(home.stored(), text);
    // Another context becomes active: the first one is untouched.
    let mut file = home.load();
    let name = file.connect(&"example.org:650".parse().unwrap());
    file.save().unwrap();
    text["v2"]["active_context"] = json!(name);
    text["v2"]["contexts"][&name] = json!({"source": 0, "pachd_address": name});
    assert_eq!(home.stored(), text);
}

#[test]
fn keys_and_numbers_are_read_in_all_forms() {
    let home = Home::with(&json!({
        "userId": "u",
        "v2": {
            "activeContext": "a",
            "maxShellCompletions": "64",
            "contexts": {"a": {"source": "IMPORTED", "portForwarders": {"pachd": "7", "s3g": null}, "sessionToken": "t"}},
        },
    }));
    let file = home.load();
    let target = file.target(&home.env).unwrap();
    assert_eq!(target.address, Address::tcp("localhost", 7));
    assert_eq!(target.token.as_deref(), Some("t"));
    file.save().unwrap();
    let stored = home.stored();
    assert_eq!(stored["user_id"], "u");
    assert_eq!(stored["v2"]["max_shell_completions"], 64);
    let expected = json!({"source": "IMPORTED", "port_forwarders": {"pachd": 7}, "session_token": "t"});
    assert_eq!(stored["v2"]["contexts"]["a"], expected);

    // A port that is none matters only to a command that uses it.
    let home = Home::with(&json!({"v2": {"active_context": "a", "contexts": {
        "a": {"port_forwarders": {"pachd": 70000}}, "b": {"pachd_address": "b:1"},
    }}}));
    let file = home.load();
    let error = file.target(&home.env).unwrap_err().to_string();
    assert!(error.contains("70000"), "{error}");
    let other = Env {
        context: Some("b".into()),
        ..home.env.clone()
    };
    assert_eq!(file.target(&other).unwrap().address, Address::tcp("b", 1));
    let broken = Home::with(&json!({"v2": {"contexts": {}, "max_shell_completions": "many"}}));
    let error = ConfigFile::load(&broken.env).unwrap_err().to_string();
    assert!(error.contains("\"many\", expected a number"), "{error}");
}

#[test]
#[cfg(unix)]
fn the_file_is_replaced_at_once_and_private() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = Home::with(&of_jupyter_lab());
    let path = home.env.config.clone().unwrap();
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    // A reader that has the old file open sees all of it.
    let old = std::fs::File::open(&path).unwrap();
    home.load().save().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(serde_json::from_reader::<_, Value>(old).unwrap(), of_jupyter_lab());

    // The path may be a link, as with a folder of settings under version control.
    let real = home.folder.path().join("real.json");
    std::fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    let mut file = home.load();
    file.config.v2.metrics = false;
    file.save().unwrap();
    assert!(path.is_symlink());
    assert_eq!(home.stored()["v2"]["metrics"], false);
    assert_eq!(mode(&real), 0o600);
    let names = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!((names(home.folder.path()), names(path.parent().unwrap())), (2, 1));

    // A file that cannot be written stays as it is, and nothing is left beside it.
    let folder = path.parent().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("inside"), "").unwrap();
    assert!(matches!(file.save(), Err(ConfigError::Write { .. })));
    assert_eq!(names(folder), 1);
}
