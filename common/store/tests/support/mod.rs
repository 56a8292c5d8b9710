//! Helpers shared by the integration tests.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(missing_docs)]
// Each test binary uses only a part of this.
#![allow(dead_code)]

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use howdah_store::{FileContent, PackWriter, S3Config, Store, StoreConfig};

#[path = "../../src/testing/noise.rs"]
pub(crate) mod noise;

/// A real S3 server over a temporary folder; stopped when dropped.
pub(crate) struct S3Server {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

const BUCKET: &str = "howdah-test";
const ACCESS_KEY: &str = "AKEXAMPLES3S";
const SECRET_KEY: &str = "SKEXAMPLES3S";

impl S3Server {
    pub(crate) fn start() -> S3Server {
        let program = s3_program();
        assert!(
            program.is_file(),
            "{} is missing: run `make setup`, which installs the S3 server the tests need, or set \
             HOWDAH_TEST_S3_SERVER to an s3s-fs executable",
            program.display()
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let server = S3Server {
            process,
            port,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
            assert!(
                Instant::now() < deadline,
                "{} does not answer on port {port}: {error}",
                program.display()
            );
            std::thread::yield_now();
        }
        server
    }

    pub(crate) fn config(&self, prefix: &str) -> StoreConfig {
        let mut config = StoreConfig::new(format!("s3://{BUCKET}/{prefix}"));
        config.s3 = S3Config {
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            access_key: Some(ACCESS_KEY.to_owned()),
            secret_key: Some(SECRET_KEY.to_owned()),
            ..S3Config::default()
        };
        config
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn s3_program() -> PathBuf {
    if let Some(program) = std::env::var_os("HOWDAH_TEST_S3_SERVER") {
        return program.into();
    }
    let cache = std::env::var_os("HOWDAH_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/howdah"));
    cache.join("tools/bin/s3s-fs")
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Writes files in one stream.
pub(crate) async fn write_files(store: &Store, files: &[Vec<u8>]) -> howdah_store::Result<Vec<FileContent>> {
    let mut writer = PackWriter::new(store);
    for (number, bytes) in files.iter().enumerate() {
        writer.begin(number).await?;
        writer.write(bytes).await?;
    }
    let written = writer.finish().await?;
    assert!(written.iter().enumerate().all(|(number, (tag, _))| number == *tag));
    Ok(written.into_iter().map(|(_, content)| content).collect())
}
