# Postern: make demo | dist | test | test-full | corpora | regress | fuzz-smoke | fuzz | check | bench | bench-micro | soak | clean
#
# Needs Rust, git and make; `setup` installs the rest from Debian's packages where it is missing.

CARGO ?= cargo
DIR   ?=
PORT  ?= 7432
BENCH ?=
SOAK  ?= 3600
FUZZ_SECONDS ?= 600
TARGET ?=
FILES ?=

RELEASE := --release --locked
POSTERN := $(or $(CARGO_TARGET_DIR),target)/release/postern

.PHONY: help demo tour build dist setup setup-demo setup-test setup-bench setup-fuzz setup-corpora setup-regress setup-deny test test-full corpora regress fuzz-smoke fuzz check deny bench bench-micro soak clean

help:
	@echo "make demo       PostgreSQL, proxy, data set and tour; stays up until Ctrl-C (PORT=$(PORT), DIR=/var/tmp/postern-demo)"
	@echo "make tour       the same, and ends after the tour; fails if a step does not show what it should"
	@echo "make test       all tests that a change must pass"
	@echo "make test-full  the same and the long ones"
	@echo "make corpora    Django's and SQLAlchemy's test suites through the proxy, about an hour; writes tests/corpora/RESULTS.md"
	@echo "make regress    PostgreSQL's own regression suite through the module lab; writes tests/regress/RESULTS.md (FILES='join with' for some)"
	@echo "make fuzz-smoke every decoder's fuzz target, one minute together"
	@echo "make fuzz       the same for FUZZ_SECONDS=$(FUZZ_SECONDS), or one of them: TARGET=numeric (tests/fuzz/README.md)"
	@echo "make check      format, lints, documentation, dependencies"
	@echo "make bench      what a hop costs beside PgBouncer, about an hour; writes bench/RESULTS.md (BENCH=--quick for a trial, BENCH=--help for more)"
	@echo "make bench-micro  the parts that a query passes, one by one"
	@echo "make soak       mixed load for SOAK=$(SOAK) s; fails if memory grows"
	@echo "make setup      install what is missing (Debian; root or sudo)"
	@echo "make dist       the binary to deploy, optimised as a whole (some minutes): target/dist/postern"
	@echo "make clean      remove what was built"

demo: setup-demo build
	@$(POSTERN) demo --port $(PORT) $(if $(DIR),--dir '$(DIR)')

tour: setup-demo build
	@$(POSTERN) demo --tour-only --port 0 $(if $(DIR),--dir '$(DIR)')

# The whole workspace's features are unified, as the tests do, so that nothing is built twice.
build:
	@$(CARGO) build $(RELEASE) --workspace --bins

# What is deployed and measured: optimised as a whole.
dist: setup-demo
	@$(CARGO) build --profile dist --locked -p postern --bins

setup: setup-demo setup-test setup-bench setup-fuzz
setup-demo setup-test setup-bench setup-fuzz setup-corpora setup-regress:
	@bash .ci/setup $(@:setup-%=%)

test: setup-demo setup-test
	$(CARGO) test $(RELEASE) --workspace

test-full: setup-demo setup-test
	$(CARGO) test $(RELEASE) --workspace -- --include-ignored

corpora: setup-demo setup-corpora build
	@POSTERN=$(POSTERN) tests/corpora/run

regress: setup-demo setup-regress build
	@suite=$$(bash tests/regress/source $(or $(CARGO_TARGET_DIR),target)/regress-source) && \
	$(or $(CARGO_TARGET_DIR),target)/release/postern-regress "$$suite" $(FILES)

fuzz-smoke: setup-demo setup-fuzz
	@bash tests/fuzz/run 60

fuzz: setup-demo setup-fuzz
	@bash tests/fuzz/run $(FUZZ_SECONDS) $(TARGET)

check:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then $(MAKE) --no-print-directory deny; \
	else echo "cargo-deny is not installed, its check is left out (some minutes once: make setup-deny)"; fi

setup-deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked --version 0.20.2 --quiet

# Advisories need a database from the network; licences, bans and sources do not,
# only every package of the lock file, those of other platforms too.
deny:
	$(CARGO) fetch --locked --quiet
	$(CARGO) deny --offline --locked check licenses bans sources

BENCHING := $(or $(CARGO_TARGET_DIR),target)/release/postern-bench --postern $(or $(CARGO_TARGET_DIR),target)/dist/postern

bench: setup-demo setup-bench build dist
	@$(BENCHING) $(BENCH)

bench-micro: setup-demo
	$(CARGO) bench --locked -p postern-bench --profile release --bench parts $(if $(BENCH),-- $(BENCH))

soak: setup-demo setup-bench build dist
	@$(BENCHING) soak --seconds $(SOAK) $(BENCH)

clean:
	$(CARGO) clean
