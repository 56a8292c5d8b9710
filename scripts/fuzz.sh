#!/usr/bin/env bash
# Usage: scripts/fuzz.sh TARGET [SECONDS]
#        scripts/fuzz.sh TARGET FILE
#        scripts/fuzz.sh TARGET replay
#
# Fuzzes one target of common/fuzz for SECONDS, 60 by default, and fails if an input crashes it. With the path of a
# FILE, runs the target on that input alone; with `replay`, on each input of common/fuzz/corpus/TARGET. That folder
# holds a few inputs of each kind and every input that once crashed.
#
# Runs on the stable toolchain: the coverage counters come from an LLVM pass that stable rustc can switch on, and
# libfuzzer-sys brings the fuzzer. (AddressSanitizer needs a nightly toolchain; these crates have no unsafe code.)
#
# The corpus grows from run to run in the cache folder; the seeds are the kept inputs, and specs and patterns of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${1:?usage: scripts/fuzz.sh TARGET [SECONDS|FILE|replay]}"
limit="${2:-60}"
source="common/fuzz/fuzz_targets/$target.rs"
if [ ! -f "$source" ]; then
  echo "fuzz: no target $target; there are: $(cd common/fuzz/fuzz_targets && echo *.rs | sed 's/\.rs//g')" >&2
  exit 2
fi

cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
target_dir="${CARGO_TARGET_DIR:-$cache/target}/fuzz"
work="$cache/fuzz/$target"
corpus="$work/corpus" seeds="$work/seeds" crashes="$work/crashes" log="$work/log"

# The versions of the workspace, so that the code that is fuzzed is the code that ships.
cp Cargo.lock common/fuzz/Cargo.lock
# With --target, cargo leaves build scripts and macros without these flags; they have no fuzzer to link with.
triple="$(rustc -vV | sed -n 's/^host: //p')"
flags="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
echo "fuzz: building $target"
RUSTFLAGS="$flags" CARGO_TARGET_DIR="$target_dir" \
  cargo build --quiet --release --manifest-path common/fuzz/Cargo.toml --target "$triple" --bin "$target"
program="$target_dir/$triple/release/$target"

kept="common/fuzz/corpus/$target"
if [ "$limit" = replay ]; then
  "$program" "$kept" -runs=0 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 > "$cache/fuzz-replay.log" 2>&1 || {
    tail -n 40 "$cache/fuzz-replay.log" >&2
    echo "fuzz: $target fails on an input of $kept" >&2
    exit 1
  }
  echo "fuzz: $target replayed $(find "$kept" -type f | wc -l) inputs"
  exit 0
fi

if [ -f "$limit" ]; then
  exec "$program" "$limit"
fi

rm -rf "$seeds" "$crashes"
mkdir -p "$corpus" "$seeds" "$crashes" "$kept"

# Writes each line of standard input as a seed.
seed_lines() {
  local number=0 line
  while IFS= read -r line; do
    number=$((number + 1))
    printf '%s' "$line" > "$seeds/$1-$number"
  done
}

dictionary="$work/dictionary"
: > "$dictionary"
longest=256
case "$target" in
  spec)
    longest=4096
    # A snapshot holds sources, each followed by a line "  => message".
    awk -v folder="$seeds" '
      FNR == 1 { dashes = 0; text = "" }
      dashes < 2 { if ($0 == "---") dashes++; next }
      /^  => / {
        file = sprintf("%s/snapshot-%d", folder, ++number)
        printf "%s", text > file
        close(file)
        text = ""
        next
      }
      text == "" && $0 == "" { next }
      { text = text $0 "\n" }' common/spec/tests/snapshots/*.snap
    find examples -path '*/specs/*' \( -name '*.json' -o -name '*.yaml' \) -exec cp -t "$seeds" {} +
    # The names of the fields, so that the fuzzer need not guess them.
    grep -ohE 'field\("[A-Za-z_0-9]+"' common/spec/src/schema.rs | sed -E 's/field\(//' | sort -u > "$dictionary"
    ;;
  glob)
    grep -ohE '"/[^" ]*"' common/glob/src/tests.rs | tr -d '"' | sort -u | sed 's|\\\\|\\|g' | seed_lines pattern
    printf '"%s"\n' '[:alpha:]' '[!' '@(' '?(' '*(' '+(' '!(' '**' '${' > "$dictionary"
    ;;
  filter)
    grep -ohE 'r#"[^#]*"#' common/filter/tests/filters.rs | sed -E 's/^r#"//; s/"#$//' | sort -u | seed_lines filter
    grep -ohE '^    \("[A-Za-z_]+"' common/filter/src/functions.rs | sed -E 's/ *\(//' | sort -u > "$dictionary"
    printf '"%s"\n' ' and ' ' or ' '//' '==' '!=' '.[]' 'select(' >> "$dictionary"
    ;;
  schedule)
    sed -n '/mod tests/,$p' common/spec/src/{cron,duration,quantity}.rs \
      | grep -ohE '"[^"]+"' | tr -d '"' | sort -u | seed_lines text
    printf '"%s"\n' CRON_TZ= TZ= Europe/Berlin @every @daily @never mon jan > "$dictionary"
    ;;
  frame | node | record | wire) longest=4096 ;;
esac

# An empty dictionary is an error for the fuzzer.
words=()
[ ! -s "$dictionary" ] || words=(-dict="$dictionary")

count() { find "$1" -type f | wc -l; }
echo "fuzz: $target for $limit s, $(count "$seeds") seeds, $(count "$corpus") inputs of earlier runs"
if "$program" "$corpus" "$seeds" "$kept" -max_total_time="$limit" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len="$longest" \
  "${words[@]}" -artifact_prefix="$crashes/" -print_final_stats=1 > "$log" 2>&1; then
  sed -n 's/^stat::number_of_executed_units: */fuzz: inputs tried: /p; s/^stat::peak_rss_mb: */fuzz: memory, MiB: /p' "$log"
  echo "fuzz: $target found nothing"
  exit 0
fi

# The report is the part of the log from the panic on.
grep -nE "panicked at|ERROR: libFuzzer" "$log" | head -1 | cut -d: -f1 | xargs -I{} tail -n +{} "$log" | head -40 >&2
found="$(find "$crashes" -type f | head -1)"
echo "fuzz: $target fails; input: ${found:-none was written, see $log}" >&2
[ -z "$found" ] || echo "fuzz: run it again with: scripts/fuzz.sh $target $found" >&2
exit 1
