#!/usr/bin/env bash
# Runs the linear-regression example with the built programs and prints every command with its output.
# Uses a temporary data folder and its own port, so it is independent of any running Howdah.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
bin="${CARGO_TARGET_DIR:-$cache/target}/debug"
example="examples/linear-regression"

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
die() { printf '\n%s\n' "$*" >&2; exit 1; }

echo "Building the example images (small static programs, nothing is downloaded) ..."
bash scripts/build-example-images.sh

data="$(mktemp -d "${TMPDIR:-/tmp}/howdah-demo.XXXXXX")"
up_pid=""
cleanup() {
  if [ -n "$up_pid" ] && kill -0 "$up_pid" 2>/dev/null; then
    kill -INT "$up_pid"
    wait "$up_pid" 2>/dev/null || true
  fi
  rm -rf "$data"
}
trap cleanup EXIT

port="${HOWDAH_DEMO_PORT:-30659}"
export PACHD_ADDRESS="grpc://127.0.0.1:$port"
export PACH_CONFIG="$data/config.json"
unset PACH_CONTEXT || true

say "Start Howdah: coordinator, worker and message queue over one folder"
echo "\$ howdah up --data $data/howdah --port $port"
"$bin/howdah" up --data "$data/howdah" --port "$port" --log warn >"$data/up.out" 2>"$data/up.err" &
up_pid=$!
for _ in $(seq 100); do
  grep -q '^Howdah is up' "$data/up.out" && break
  kill -0 "$up_pid" 2>/dev/null || { cat "$data/up.out" "$data/up.err" >&2; die "howdah up ended early"; }
  sleep 0.1
done
cat "$data/up.out"

# Prints a command as a user types it, then runs it.
run() {
  printf '\n$ howdah'
  printf ' %q' "$@"
  printf '\n'
  "$bin/howdah" "$@"
}

say "Two repositories"
run create repo training
run create repo attributes

say "A first file, a first pipeline"
run put file training@master -f "$example/data/diabetes.csv"
run create pipeline -f "$example/specs/model.json"
run wait commit model@master
run get file model@master:/model.json

say "Three patients in one commit; one datum, one container run, one prediction each"
run put file attributes@master:/ -r -f "$example/data/attributes"
run create pipeline -f "$example/specs/prediction.json"
run wait commit prediction@master
run list file prediction@master
run get file prediction@master:/1.json

say "A fourth patient: one datum runs, three are skipped"
run put file attributes@master:/4.json -f "$example/data/more/4.json"
run wait commit prediction@master
run list job -p prediction

say "A better model: it leads to new predictions, under one global id"
run update pipeline --reprocess -f "$example/specs/model-multi.json"
run wait commit prediction@master
run get file model@master:/model.json
run list job -x
run get file prediction@master:/1.json

say "Where does a prediction come from?"
run inspect file prediction@master:/1.json

say "The old prediction still exists"
run get file "prediction@master^:/1.json"

printf '\nThis is the end of the demo. Start your own Howdah with: %s/howdah up\n' "$bin"
