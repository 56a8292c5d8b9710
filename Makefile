# What a newcomer needs: `make demo` and `make test`. Build output lives in a cache folder outside the
# checkout, so that a fresh clone builds on what an earlier one compiled.

HOWDAH_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/howdah
CARGO_TARGET_DIR ?= $(HOWDAH_CACHE)/target
PREFIX ?= /usr/local
export HOWDAH_CACHE CARGO_TARGET_DIR

BIN := $(CARGO_TARGET_DIR)/debug
# Tools that scripts/setup.sh installs.
export PATH := $(HOWDAH_CACHE)/tools/bin:$(PATH)

.PHONY: help demo test check fuzz fuzz-replay campaign build setup bench install docs clean-data

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1|/' | column -t -s '|'

demo: ## Sets up what is missing, builds, and tells the linear-regression story with real containers.
	@bash scripts/setup.sh
	@$(MAKE) --no-print-directory build
	@bash scripts/demo.sh

test: ## Sets up what is missing, then runs every test against a real NATS, Docker and S3 server.
	@bash scripts/setup.sh --test
	@$(MAKE) --no-print-directory build
	@bash scripts/build-example-images.sh
	@bash scripts/test.sh

check: ## Formatting, lints, docs, licences, unused dependencies, spelling: what CI checks beside the tests.
	@bash scripts/setup.sh --test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	bash scripts/deny.sh
	cargo machete --skip-target-dir
	typos
	cargo build --locked -p howdah --quiet
	$(BIN)/howdah help-markdown | diff -u docs/cli.md - || (echo "docs/cli.md is out of date: run make docs" >&2; exit 1)

FUZZ_SECONDS ?= 60

FUZZ_TARGETS := $(basename $(notdir $(wildcard common/fuzz/fuzz_targets/*.rs)))

fuzz: ## Fuzzes everything that reads bytes of others, FUZZ_SECONDS for each target (60).
	@for target in $(FUZZ_TARGETS); do bash scripts/fuzz.sh $$target $(FUZZ_SECONDS) || exit 1; done

fuzz-replay: ## Runs each fuzz target on the inputs that are kept in common/fuzz/corpus.
	@for target in $(FUZZ_TARGETS); do bash scripts/fuzz.sh $$target replay || exit 1; done

CAMPAIGN_ROUNDS ?= 200

campaign: build ## Kills and freezes parts of a cluster at CAMPAIGN_ROUNDS (200) random moments.
	HOWDAH_CAMPAIGN_ROUNDS=$(CAMPAIGN_ROUNDS) HOWDAH_TEST_BIN_DIR=$(BIN) \
	  cargo test --workspace --locked --test campaign -- --nocapture

build: ## Builds every program of the workspace.
	cargo build --workspace --bins --locked

setup: ## Installs what tests need, without building Howdah.
	@bash scripts/setup.sh --test

bench: ## Runs the benchmark programs.
	cargo build --release --workspace --bins --locked
	$(CARGO_TARGET_DIR)/release/howdah-loadtest all

docs: ## Makes the generated pages of docs/ again.
	cargo build --locked -p howdah
	$(BIN)/howdah help-markdown > docs/cli.md

install: ## Installs howdah, howdah-coordinator, howdah-worker and the name pachctl under PREFIX.
	cargo build --release --workspace --bins --locked
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin \
	  $(CARGO_TARGET_DIR)/release/howdah $(CARGO_TARGET_DIR)/release/howdah-coordinator $(CARGO_TARGET_DIR)/release/howdah-worker
	ln -sf howdah $(DESTDIR)$(PREFIX)/bin/pachctl
