//! Connections over TLS. The certificate in `tests/tls` is one for 127.0.0.1 by an authority that is there too; neither is
//! used elsewhere.

use std::path::PathBuf;

use howdah_queue::testing::{NatsServer, executables, installation};
use howdah_queue::{NatsAccess, Queue, QueueError, QueueOptions};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn options(url: &str, ca: Option<PathBuf>, credentials: Option<PathBuf>) -> QueueOptions {
    QueueOptions {
        access: NatsAccess {
            nats_ca: ca,
            nats_credentials: credentials,
            ..NatsAccess::default()
        },
        ..QueueOptions::coordinator(url, installation())
    }
}

#[tokio::test]
async fn the_server_is_checked_against_the_authority_and_the_credentials_against_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::write(&credentials, "joe:secret\n").unwrap();
    for executable in executables() {
        let tls = format!(
            "tls {{ cert_file: {:?}, key_file: {:?} }}",
            file("server.pem"),
            file("server.key")
        );
        let users = "authorization { users = [ { user: joe, password: secret } ] }";
        let server = NatsServer::start_with(&executable, &[&tls, users]);
        let url = server.url().replace("nats://", "tls://");
        for url in [&url, &server.url()] {
            let known = options(url, Some(file("ca.pem")), Some(credentials.clone()));
            let queue = Queue::connect(&known).await.unwrap().lead(1, None);
            queue.ensure_streams().await.unwrap();
        }
        let unknown = options(&url, None, Some(credentials.clone()));
        let refused = Queue::connect(&unknown).await.err().unwrap();
        assert!(matches!(refused, QueueError::Connect { .. }), "{refused:?}");
        let nobody = options(&url, Some(file("ca.pem")), None);
        assert!(Queue::connect(&nobody).await.is_err());
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_an_authority_is_given() {
    let server = NatsServer::start();
    let strict = options(&server.url(), Some(file("ca.pem")), None);
    assert!(Queue::connect(&strict).await.is_err());
    let missing = options(&server.url(), Some(file("missing.pem")), None);
    let error = Queue::connect(&missing).await.err().unwrap();
    assert!(
        error.needs_person() && error.to_string().contains("missing.pem"),
        "{error}"
    );
    let elsewhere = options("nats://192.0.2.1:4222", None, None);
    let error = Queue::connect(&elsewhere).await.err().unwrap();
    assert!(
        matches!(&error, QueueError::Plain { host } if host == "192.0.2.1"),
        "{error:?}"
    );
}
