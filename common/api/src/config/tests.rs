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
