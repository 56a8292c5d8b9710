#!/usr/bin/env bash
# Builds the images of the linear regression example: each contains one static program only.
# Prints nothing if they are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
images="examples/linear-regression/images"
version=1.0

# With --target the flags apply to the programs only; without it also to build scripts and macros.
target="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=true \
  cargo build --quiet --locked --release --target "$target" -p linear-regression --bins
programs="$CARGO_TARGET_DIR/$target/release"

scratch="$(mktemp -d "${TMPDIR:-/tmp}/howdah-images.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT

for name in train-single train-multi predict; do
  image="howdah-example/$name:$version"
  source="$(cat "$images/$name/Dockerfile" "$programs/$name" | sha256sum | cut -d ' ' -f 1)"
  built="$(docker image inspect --format '{{index .Config.Labels "howdah.source"}}' "$image" 2>/dev/null || true)"
  if [ "$built" = "$source" ]; then continue; fi
  echo "building image $image"
  rm -rf "$scratch/context"
  mkdir "$scratch/context"
  cp "$images/$name/Dockerfile" "$programs/$name" "$scratch/context/"
  if ! docker build --label "howdah.source=$source" --tag "$image" "$scratch/context" >"$scratch/log" 2>&1; then
    cat "$scratch/log" >&2
    echo "cannot build image $image (is a Docker engine running? scripts/setup.sh starts one)" >&2
    exit 1
  fi
done
