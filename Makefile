# Two commands: `make run` and `make test`. The others are for those who work on llmos; all of them may be
# repeated and interrupted at any time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# With it set, ggml silently falls back to its slowest kernels.
unexport SOURCE_DATE_EPOCH

# Outside the checkout, so that what one run of CI has built serves the next.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/llmos/target
endif
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# Setup may install ccache, so whatever builds C++ runs in a second make, which looks again.
ifneq ($(shell command -v ccache),)
export CMAKE_C_COMPILER_LAUNCHER ?= ccache
export CMAKE_CXX_COMPILER_LAUNCHER ?= ccache
endif

XTASK := cargo xtask
title = @printf '\n\033[1m== %s\033[0m\n' $(1) >&2

.PHONY: help run test test-full fuzz bench release verifier fmt clean
.PHONY: build-and-run checks tests build-and-bench

help:
	@echo 'make run        set up, build and start the server; prints its address, a key and a line to try'
	@echo 'make test       everything that CI runs'
	@echo 'make test-full  the same, with the slow tests, the fuzzing and llama-server beside ours'
	@echo 'make fuzz       look for bytes that break what the vault promises, FUZZ_SECONDS (60) long'
	@echo 'make bench      measure every figure, beside its peers; writes docs/benchmarks.md'
	@echo 'make release    build what is shipped, without simulated models, and the list of what is in it'
	@echo 'make verifier   build llmos-verify as one file, to be carried to another machine'
	@echo 'make fmt        format the code'
	@echo 'make clean      remove what was built; downloads and data stay'

run:
	$(call title,'setup')
	@$(XTASK) setup run
	@$(MAKE) build-and-run

build-and-run:
	$(call title,'build')
	@cargo build --profile ci -p llmos --locked
	@$(XTASK) run

test:
	$(call title,'setup')
	@$(XTASK) setup test
	@$(MAKE) checks tests

checks:
	$(call title,'format')
	@cargo fmt --all --check
	@cargo fmt --manifest-path fuzz/Cargo.toml --check
	$(call title,'rules')
	@$(XTASK) check
	$(call title,'dependencies')
	@$(XTASK) deny
	$(call title,'lints')
	@cargo clippy --profile ci --workspace --all-targets --locked -- -D warnings

tests: export LLMOS_TEST_BINARY = $(TARGET)/ci/llmos
tests: export LLMOS_TEST_MODEL = $(shell $(XTASK) path model)
tests: export LLMOS_TEST_EMBEDDING_MODEL = $(shell $(XTASK) path embedding-model)
tests:
	$(call title,'Rust tests')
	@cargo test --profile ci --workspace --locked
	$(call title,'tests through clients and terminals')
	@"$$($(XTASK) path venv)/bin/python3" -m pytest tests
	$(call title,'tests through a browser and identity providers')
	@LLMOS_TEST_NODE_MODULES="$$($(XTASK) path node-modules)" node --test tests/identity/*.test.mjs

test-full: test
	$(call title,'setup')
	@$(XTASK) setup bench
	$(call title,'golden files')
	@$(XTASK) golden --check
	@LLMOS_TEST_FULL=1 $(MAKE) tests
	@$(MAKE) fuzz

# On the stable toolchain: the passes that cargo-fuzz asks for, less the address sanitizer, which needs a nightly one.
# With --target, only what is fuzzed is instrumented, and no build script.
FUZZ_SECONDS ?= 60
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_CORPUS := fuzz/corpus/frames
FUZZ_ARTIFACTS := fuzz/artifacts/frames
fuzz: export CARGO_TARGET_DIR = $(TARGET)/fuzz
fuzz: export RUSTFLAGS = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
fuzz:
	$(call title,'build what is fuzzed')
	@cargo build --release --locked --manifest-path fuzz/Cargo.toml --target $(FUZZ_HOST)
	$(call title,'fuzz')
	@mkdir -p $(FUZZ_CORPUS) $(FUZZ_ARTIFACTS)
	@$(TARGET)/fuzz/$(FUZZ_HOST)/release/frames -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=512 \
		-print_final_stats=1 -verbosity=0 -artifact_prefix=$(FUZZ_ARTIFACTS)/ $(FUZZ_CORPUS)

bench:
	$(call title,'setup')
	@$(XTASK) setup bench
	@$(MAKE) build-and-bench

build-and-bench:
	$(call title,'build')
	@cargo build --release --locked -p llmos -p bench
	$(call title,'measure')
	@PATH="$(TARGET)/release:$$PATH" llmos-bench all --write docs/benchmarks.md

# Known faults are looked up in the database of today, before anything is built.
release:
	$(call title,'dependencies')
	@$(XTASK) deny --fresh
	$(call title,'build what is shipped')
	@cargo build --release --locked -p llmos --no-default-features --features llama
	@$(XTASK) verifier
	@$(XTASK) sbom

verifier:
	@$(XTASK) verifier

fmt:
	@cargo fmt --all
	@cargo fmt --manifest-path fuzz/Cargo.toml

clean:
	@cargo clean
