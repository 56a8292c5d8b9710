//! A coordinator under a limit on its memory: no process is killed, and all results are right.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::fs;

use howdah_tests::Cluster;
use howdah_tests::memory_group::{MemoryGroup, expect_disk};
use howdah_tests::stage::{pfs, spec};

/// Input files of a pipeline, in [`FOLDERS`] folders.
const FILES: usize = 10_000;
const FOLDERS: usize = 40;
/// Tiny files of one put: together their names need more memory than the limit.
const LINES: usize = 200_000;
/// Bytes of one file: more than the memory of the coordinator.
const LARGE: usize = 192 << 20;
/// What the settings below allow for, and a margin: see "Memory" in docs/configuration.md.
const LIMIT: u64 = 160 << 20;
const _: () = assert!(
    LARGE as u64 > LIMIT,
    "a coordinator that held the large file in memory would exceed the limit"
);

/// Smaller than the defaults, so that a small test is enough.
const SETTINGS: [&str; 8] = [
    "--chunk-cache-bytes",
    "8388608",
    "--node-cache-bytes",
    "8388608",
    "--write-buffer-bytes",
    "16777216",
    "--sort-buffer-bytes",
    "1048576",
];

/// Returns pseudo-random bytes, which cannot be deduplicated.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn name(number: usize) -> String {
    format!("{:02}/{number:05}", number % FOLDERS)
}

fn content(number: usize) -> Vec<u8> {
    noise(number as u64 + 1, 100 + number % 900)
}

#[test]
fn a_coordinator_keeps_within_its_memory_whatever_is_put() {
    let cluster = Cluster::start_limited(1, &SETTINGS, MemoryGroup::new(LIMIT));
    expect_disk(cluster.folder.path());
    let client = cluster.client();
    let input = cluster.folder.path().join("input");
    for folder in 0..FOLDERS {
        fs::create_dir_all(input.join(format!("{folder:02}"))).unwrap();
    }
    for number in 0..FILES {
        fs::write(input.join(name(number)), content(number)).unwrap();
    }
    let large = input.join("large");
    fs::write(&large, noise(u64::MAX, LARGE)).unwrap();

    client.ok("create repo data");
    client.ok(&format!("put file -r data@master:/ -f {}", input.display()));
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    let job = client.last_job("copy").expect_success();
    assert_eq!(job.counts()[0], FOLDERS as u64 + 1);

    // Compares every byte after put, job and get.
    let output = cluster.folder.path().join("output");
    client.ok(&format!("get file -r copy@master:/ -o {}", output.display()));
    for number in 0..FILES {
        let path = output.join(name(number));
        assert!(fs::read(&path).unwrap() == content(number), "{}", path.display());
    }
    assert!(fs::read(output.join("large")).unwrap() == fs::read(&large).unwrap());
    let files: usize = (0..FOLDERS)
        .map(|folder| fs::read_dir(output.join(format!("{folder:02}"))).unwrap().count())
        .sum();
    assert_eq!(files, FILES);
    let lines: Vec<String> = (0..LINES).map(|number| format!("line {number:07}")).collect();
    fs::write(cluster.folder.path().join("lines"), lines.join("\n") + "\n").unwrap();
    client.ok("create repo many");
    client.ok("put file many@master:/lines -f lines --split line");
    let found = client.raw("glob file many@master:/lines/*");
    assert_eq!(found.len(), LINES);
    for index in [0, LINES / 2, LINES - 1] {
        let path = found[index]["file"]["path"].as_str().unwrap();
        let content = client.ok(&format!("get file many@master:{path}"));
        assert_eq!(content, format!("{}\n", lines[index]));
    }

    let group = cluster.group.as_ref().unwrap();
    assert_eq!(group.killed(), 0, "{}", cluster.coordinator.log());
}
