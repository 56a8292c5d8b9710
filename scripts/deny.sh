#!/usr/bin/env bash
# Checks licences, bans and sources of the dependencies, and known vulnerabilities (advisories). Advisories need the
# RustSec database, a git repository: it is fetched if the network allows it, else the copy of an earlier run is used
# (CI may keep it: $CARGO_HOME/advisory-dbs). Without either, one line says that they were not checked.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
PATH="$cache/tools/bin:$PATH"
databases="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"
deny() { cargo deny --locked --log-level error "$@"; }

deny check licenses bans sources
if timeout 60 cargo deny --locked --log-level off fetch db >/dev/null 2>&1; then
  deny check advisories
elif compgen -G "$databases/*/crates" >/dev/null; then
  echo "advisories: the database could not be fetched; checking with the copy in $databases" >&2
  # Offline, so that the database is not fetched; crates of other targets must be there.
  cargo fetch --locked --quiet
  deny --offline check advisories
else
  echo "advisories: NOT CHECKED: the RustSec database could not be fetched, and there is no copy in $databases" >&2
fi
