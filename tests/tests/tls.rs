//! Encrypted connections: certificates of `howdah up --tls`, given ones, new ones without a restart, those of clients.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use howdah_tests::tools::{program, wait_for};
use howdah_tests::{Cluster, CommandOutput, Up};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Runs a command as a user with a configuration file of its own.
fn run(home: &Path, settings: &[(&str, &Path)], line: &str) -> CommandOutput {
    let mut command = Command::new(program("howdah"));
    command.args(line.split_whitespace()).env_clear().env("HOME", home);
    for (name, value) in settings {
        command.env(name, value);
    }
    let done = command.output().unwrap();
    CommandOutput {
        command: line.to_owned(),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        code: done.status.code().unwrap_or(-1),
    }
}

/// A certificate that signs others.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Writes `NAME-cert.pem`, `NAME-key.pem` and `NAME-ca.pem`.
    fn write(&self, folder: &Path, name: &str) -> [PathBuf; 3] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        let files = ["cert", "key", "ca"].map(|part| folder.join(format!("{name}-{part}.pem")));
        std::fs::write(&files[0], format!("{}{}", cert.pem(), self.1)).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        std::fs::write(&files[2], &self.1).unwrap();
        files
    }
}

fn connect(home: &Path, port: u16, ca: &Path) {
    let line = format!("connect grpcs://127.0.0.1:{port} --ca-file {}", ca.display());
    let _ = run(home, &[], &line).expect_ok();
}

#[test]
fn howdah_up_makes_a_certificate_that_its_clients_can_trust() {
    let up = Up::start_with(&["--tls"]);
    let home = tempfile::tempdir().unwrap();
    let ca = up.folder.path().join("data/tls/ca.pem");
    connect(home.path(), up.port, &ca);
    let _ = run(home.path(), &[], "create repo data").expect_ok();
    assert!(run(home.path(), &[], "list repo").expect_ok().stdout.contains("data"));

    let plain = up.client().fails("list repo");
    assert!(plain.contains("grpcs://"), "{plain}");
    // Without `--ca-file` the system's certificates count.
    let _ = run(home.path(), &[], &format!("connect grpcs://127.0.0.1:{}", up.port)).expect_ok();
    assert_ne!(run(home.path(), &[], "list repo").code, 0);
}

#[test]
fn a_new_certificate_is_used_without_a_restart_also_between_coordinators() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key, old_ca] = Authority::new("old").write(folder.path(), "server");
    let old_ca_copy = folder.path().join("old.pem");
    std::fs::copy(&old_ca, &old_ca_copy).unwrap();
    let arguments = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut cluster = Cluster::start_with_arguments(0, &arguments);
    let home = tempfile::tempdir().unwrap();
    connect(home.path(), cluster.port, &old_ca_copy);
    wait_for("a leader", || {
        let output = run(home.path(), &[], "create repo data");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let standby = cluster.add_coordinator();
    connect(home.path(), standby, &old_ca_copy);
    wait_for("the standby", || {
        let output = run(home.path(), &[], "list repo");
        if output.stdout.contains("data") {
            Ok(())
        } else {
            Err(output.stderr)
        }
    });

    Authority::new("new").write(folder.path(), "server");
    connect(home.path(), cluster.port, &old_ca);
    wait_for("the new certificate", || {
        let output = run(home.path(), &[], "list repo");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    connect(home.path(), cluster.port, &old_ca_copy);
    assert_ne!(
        run(home.path(), &[], "list repo").code,
        0,
        "the old one is not used any more"
    );
}

#[test]
fn with_a_client_ca_only_clients_with_a_certificate_connect() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key, ca] = Authority::new("servers").write(folder.path(), "server");
    let [client_cert, client_key, client_ca] = Authority::new("clients").write(folder.path(), "client");
    let [other_cert, other_key, _] = Authority::new("others").write(folder.path(), "other");
    let arguments = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
        "--tls-client-ca",
        client_ca.to_str().unwrap(),
    ];
    let cluster = Cluster::start_with_arguments(0, &arguments);
    let home = tempfile::tempdir().unwrap();
    connect(home.path(), cluster.port, &ca);
    let settings = [
        ("HOWDAH_CLIENT_CERT", &*client_cert),
        ("HOWDAH_CLIENT_KEY", &*client_key),
    ];
    wait_for("a leader", || {
        let output = run(home.path(), &settings, "list repo");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    assert_ne!(run(home.path(), &[], "list repo").code, 0);
    let settings = [("HOWDAH_CLIENT_CERT", &*other_cert), ("HOWDAH_CLIENT_KEY", &*other_key)];
    assert_ne!(run(home.path(), &settings, "list repo").code, 0);
}
