#!/usr/bin/env bash
# Runs every test. Needs the tools of `scripts/setup.sh --test` and the binaries of `make build`.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
export HOWDAH_CACHE="$cache"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
# A test that was compiled for another checkout with the same cache finds its snapshots here.
export INSTA_WORKSPACE_ROOT="$PWD"
export HOWDAH_TEST_BIN_DIR="${HOWDAH_TEST_BIN_DIR:-$CARGO_TARGET_DIR/debug}"
export HOWDAH_TEST_S3_SERVER="${HOWDAH_TEST_S3_SERVER:-$cache/tools/bin/s3s-fs}"
if [ -x "$cache/tools/bin/nats-server" ]; then
  export HOWDAH_TEST_NATS_SERVERS="${HOWDAH_TEST_NATS_SERVERS:-$cache/tools/bin/nats-server}"
fi
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked "$@"
  cargo test --workspace --locked --doc --quiet
else
  cargo test --workspace --locked "$@"
fi
