# Every target is what a user runs; CI runs `make test` and `make e2e` and nothing else.
SHELL := /bin/bash
# Where cargo puts the binary, whatever CARGO_TARGET_DIR says.
BIN = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/countersign
.DEFAULT_GOAL := help
.PHONY: help bench demo test e2e fuzz tuf-conformance lint generate verify-generated e2e-tools

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## judge a real signed image: allowed by the right policy, denied by others; no cluster, no network
	@cargo build --quiet --locked
	@scripts/demo.sh "$(BIN)"

test: lint verify-generated ## formatting, lints, unit, snapshot, example, architecture and documentation tests
	cargo test --locked

lint: ## formatting and clippy, warnings denied
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

generate: ## write crds/ anew
	mkdir -p crds
	cargo run --quiet --locked -- crd > crds/policy.countersign.dev.yaml

verify-generated: ## fail if crds/ is not what the code generates
	@set -e; new=$$(mktemp); trap 'rm -f "$$new"' EXIT; \
	cargo run --quiet --locked -- crd > "$$new"; \
	diff -u crds/policy.countersign.dev.yaml "$$new" || { echo "crds/ is not generated from this code: run make generate" >&2; exit 1; }

bench: ## what verification costs beside its public-key operations, format by format
	cargo bench --locked

fuzz: ## mutations of every kind of input for MINUTES (10), of one TARGET if given; fuzz/README.md
	FUZZ_MINUTES=$(or $(MINUTES),10) FUZZ_TARGET=$(TARGET) \
		cargo test --locked --release --test fuzz_corpus -- --ignored --nocapture a_long_session

tuf-conformance: ## the TUF community's test suite against our TUF client; needs git, Python and faketime
	cargo build --locked --example tuf_conformance
	e2e/tools/tuf-conformance/run.sh "$(dir $(BIN))examples/tuf_conformance" -q

e2e-tools: ## build API server, registry, Sigstore services and signers from pinned sources, once
	@e2e/tools/build.sh

e2e: ## a real API server, real registries, real signatures
	cargo build --locked
	COUNTERSIGN_E2E_TOOLS="$$(e2e/tools/build.sh)" COUNTERSIGN_BIN="$(BIN)" cargo test --locked -p countersign-e2e
