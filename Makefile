# The doors of the house. `make help` lists them; docs/hacking.md says more about each.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# DPDK is linked statically by every target; FEATURES= builds without it, FEATURES=dpdk-shared
# with the system's libdpdk.
FEATURES ?= dpdk
# The profile of what is run by hand and end to end: release code with thin LTO. PROFILE=release
# is what users get, and takes minutes to link.
PROFILE ?= ci

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SLUICE := $(TARGET_DIR)/$(PROFILE)/sluice
STEP := tests/scripts/step
# A workspace of its own, so that libFuzzer stays out of the product's build.
fuzz := tests/fuzz/Cargo.toml
with_features = $(if $(FEATURES),--features $(FEATURES))
all_dpdk := sluice/dpdk,sluice-pktgen/dpdk
with_generator = -p sluice-pktgen $(if $(FEATURES),--features sluice/$(FEATURES) --features sluice-pktgen/$(FEATURES))
# The crates of the DPDK feature are not default members: a plain build needs no system library.
dpdk_crates := -p sluice -p sluice-dpdk -p sluice-dpdk-sys

SEEDS ?= 200
TIME ?= 60
# How long the nightly run plays fresh seeds (minutes) and fuzzes each target (seconds).
NIGHTLY_MINUTES ?= 30
NIGHTLY_TIME ?= 600

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  FEATURES=dpdk|dpdk-shared|(empty)   PROFILE=ci|release   SEED= SEEDS= MINUTES= TIME="

# Run

.PHONY: run
run: deps-build build ## Sluice on a TAP with two sample backends; Ctrl-C cleans up
	@tests/scripts/demo $(SLUICE) examples/demo.toml

.PHONY: build
build: ## the binary and the load generator, by PROFILE and FEATURES: target/PROFILE/sluice, sluice-pktgen
	@$(STEP) 1500 "build ($(PROFILE))" $(CARGO) build --profile $(PROFILE) -p sluice $(with_generator)

.PHONY: deps
deps: ## install what building, testing and linting need; quick when all is there
	@tests/scripts/deps all

.PHONY: deps-build
deps-build:
	@$(if $(FEATURES),tests/scripts/deps build)

.PHONY: pgo
pgo: deps-build ## the binary laid out by a profile of the benches: target/pgo/sluice, target/pgo/icount (10 minutes)
	@$(STEP) 2400 "build by profile" tests/scripts/pgo release $(with_features)

# Check

.PHONY: lint
lint: lock fmt clippy docs deny ## lock file, formatting, clippy, rustdoc, licences and bans

.PHONY: lock
lock:
	@$(STEP) 120 "Cargo.lock is current" $(CARGO) fetch --quiet --locked

.PHONY: fmt
fmt:
	@$(STEP) 60 "cargo fmt --check" $(CARGO) fmt --all --check
	@$(STEP) 60 "cargo fmt --check, fuzz targets" $(CARGO) fmt --manifest-path $(fuzz) --check

.PHONY: clippy
clippy:
	@$(STEP) 900 "clippy, static DPDK" $(CARGO) clippy --quiet --workspace --all-targets \
		--features $(all_dpdk) -- -D warnings
	@$(STEP) 300 "clippy, end to end" $(CARGO) clippy --quiet -p sluice \
		--features dpdk --test e2e -- -D warnings
	@$(STEP) 300 "clippy, no DPDK" $(CARGO) clippy --quiet --all-targets -- -D warnings
	@$(STEP) 300 "clippy, fuzz targets" $(CARGO) clippy --quiet --manifest-path $(fuzz) \
		--target-dir $(TARGET_DIR) --all-targets -- -D warnings

.PHONY: deny
deny:
	@$(STEP) 120 "licences, bans, sources" $(CARGO) deny --log-level error \
		check bans licenses sources
	@if timeout 60 $(CARGO) deny --log-level off fetch db >/dev/null 2>&1; then \
		$(STEP) 60 "advisories" $(CARGO) deny --log-level error check advisories; \
	else \
		echo "== advisories: not checked, the RustSec database cannot be reached"; \
	fi

# Every crate is internal, so a tour may link to private modules: they are documented too.
.PHONY: docs
docs: ## rustdoc of every crate, warnings are errors; target/doc/sluice/index.html
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(STEP) 600 "rustdoc" $(CARGO) doc --quiet --workspace \
		--no-deps --document-private-items --features $(all_dpdk)

.PHONY: test
test: deps test-unit test-features sim fuzz-replay miri test-e2e icount ## everything that must pass

.PHONY: test-unit
test-unit: ## unit, property and transcript tests of every crate, with static DPDK
	@$(STEP) 1500 "build the tests" $(CARGO) test --quiet --workspace --features $(all_dpdk) --no-run
	@$(STEP) 600 "tests, static DPDK" $(CARGO) test --quiet --workspace --features $(all_dpdk)

.PHONY: test-features
test-features: ## the binary without DPDK, and with the system's shared libdpdk
	@$(STEP) 600 "tests, no DPDK" $(CARGO) test --quiet -p sluice
	@$(STEP) 600 "tests, shared DPDK" $(CARGO) test --quiet $(dpdk_crates) \
		--features sluice/dpdk-shared

.PHONY: test-e2e
test-e2e: build ## the binary against curl, wrk, nginx, Envoy, gRPC and DPDK devices, in network namespaces
	@$(STEP) 600 "build the end-to-end tests" $(CARGO) test --quiet -p sluice --features dpdk --test e2e --no-run
	@SLUICE_BIN=$(abspath $(SLUICE)) $(STEP) 600 "end to end" tests/scripts/netns \
		$(CARGO) test --quiet --offline -p sluice --features dpdk --test e2e

.PHONY: matrix
matrix: build ## bulk and 1,000 connections over cables of every loss and length, judged by tshark
	@$(STEP) 600 "build the end-to-end tests" $(CARGO) test --quiet -p sluice --features dpdk --test e2e --no-run
	@SLUICE_BIN=$(abspath $(SLUICE)) $(STEP) 1800 "bad cables" tests/scripts/netns \
		$(CARGO) test --quiet --offline -p sluice --features dpdk --test e2e -- --ignored lossy

.PHONY: sim
sim: ## the simulator: SEEDS=200, or one SEED= (TRIM=), or MINUTES= of fresh seeds
	@$(STEP) 900 "build the simulator" $(CARGO) build --quiet -p sluice-sim --bin sim
	@$(STEP) $(if $(MINUTES),$$(($(MINUTES) * 60 + 120)),600) "simulator" \
		$(TARGET_DIR)/debug/sim \
		$(if $(SEED),--seed $(SEED) $(if $(TRIM),--trim $(TRIM)),$(if $(MINUTES),--minutes $(MINUTES),--seeds $(SEEDS)))

# A pool dropped while its buffers are out is kept for good, on purpose: the tests of that, by name,
# run without Miri's leak check, all others with it.
outlives := a_pool_outlives
miri_test = $(CARGO) +nightly miri test --quiet -p sluice-buf --

.PHONY: miri
miri: ## packet memory under Miri (nightly)
	@MIRIFLAGS="-Zmiri-permissive-provenance" \
		$(STEP) 900 "miri" $(miri_test) --skip $(outlives)
	@MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
		$(STEP) 300 "miri, pools that outlive their handle" $(miri_test) $(outlives)

.PHONY: fuzz
fuzz: ## TIME=60 seconds of fuzzing per target (nightly)
	@tests/scripts/fuzz run $(TIME)

.PHONY: fuzz-replay
fuzz-replay: ## every corpus file, whole, cut and changed; on stable
	@$(STEP) 600 "fuzz corpora" tests/scripts/fuzz replay

# Measure

.PHONY: icount
icount: ## instructions per forwarded packet and per proxied request, beside their budgets
	@$(STEP) 900 "build the instruction counts" $(CARGO) build --quiet --profile ci \
		-p sluice-bench --bins
	@$(STEP) 600 "instruction counts" $(TARGET_DIR)/ci/icount

.PHONY: bench
bench: ## criterion micro benches, then the whole path over in-memory links
	@$(STEP) 1800 "micro benches" $(CARGO) bench --quiet -p sluice-bench
	@$(STEP) 1200 "build the path bench" $(CARGO) build --quiet --release -p sluice-bench --bins
	@$(STEP) 600 "whole path" $(TARGET_DIR)/release/path

.PHONY: scale
scale: ## a million connections: memory, instructions, cycles; a flood of a million SYNs; a day of virtual time
	@$(STEP) 900 "build the scale bench" $(CARGO) build --quiet --profile ci -p sluice-bench --bin scale
	@$(STEP) 2400 "a million connections" $(TARGET_DIR)/ci/scale
	@$(STEP) 900 "build the long tests" $(CARGO) test --quiet -p sluice-bench -p sluice-stack \
		--test syn_flood --test day --no-run
	@$(STEP) 300 "a million spoofed SYNs" $(CARGO) test --quiet -p sluice-bench --test syn_flood -- --ignored
	@$(STEP) 300 "a day of virtual time" $(CARGO) test --quiet -p sluice-stack --test day -- --ignored

.PHONY: goodput
goodput: build ## downloads over a bad cable, ours beside the kernel's: GOODPUT='--loss 1% --rtt 50 --pairs 5'
	@$(STEP) 1200 "goodput" tests/scripts/netns tests/scripts/goodput $(GOODPUT) $(SLUICE)

.PHONY: peers
peers: deps build ## requests through HAProxy, Envoy, nginx and Sluice in turn: PEERS='--rounds 5 --only HAProxy --record'
	@$(STEP) 1800 "beside other proxies" tests/scripts/netns /usr/bin/python3 -B bench/peers \
		--output $(TARGET_DIR)/peers.md $(PEERS) $(SLUICE)

.PHONY: nightly
nightly: ## the long run: everything, NIGHTLY_MINUTES= of seeds, NIGHTLY_TIME= seconds per fuzz target, benches
	@$(MAKE) lint test
	@$(MAKE) sim MINUTES=$(NIGHTLY_MINUTES)
	@$(MAKE) fuzz TIME=$(NIGHTLY_TIME)
	@$(MAKE) matrix
	@$(MAKE) goodput
	@$(MAKE) peers
	@$(MAKE) scale
	@$(MAKE) bench

.PHONY: clean
clean: ## remove what was built
	@$(CARGO) clean
