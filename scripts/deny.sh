#!/usr/bin/env bash
# Checks licences, bans and sources of the dependencies. Advisories need a database from the network; check them
# with `cargo deny check advisories`.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${HOWDAH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/howdah}"
PATH="$cache/tools/bin:$PATH"
exec cargo deny --locked --log-level error check licenses bans sources
