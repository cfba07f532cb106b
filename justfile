# What is typed often. `just` lists it.

_default:
    @just --list

# Formatting, lints and tests.
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo test --locked

# Tests; arguments are passed on: `just test store::`.
test *ARGS:
    cargo test --locked {{ ARGS }}

# Benches; arguments are passed on.
bench *ARGS:
    cargo bench --locked {{ ARGS }}

# Proxy and a local vendor in one process.
run *ARGS:
    cargo run --release --locked -- dev {{ ARGS }}

# Every parser against bytes nobody thought of, for so many seconds each.
fuzz SECONDS="60" *TARGETS:
    fuzz/run {{ SECONDS }} {{ TARGETS }}

# Random illnesses of vendors, in virtual time, under fresh seeds for so many seconds.
simulate SECONDS="120":
    LARDER_SECONDS={{ SECONDS }} cargo test --locked --test simulation invariants -- --nocapture

# The proxy in front of a real API server, as .ci/run does it.
real:
    cargo build --release --locked
    tests/real/run

# Contracts against schemas and documents that nobody here wrote.
contracts:
    cargo build --release --locked
    tests/real/contracts

# The open cache test suite against the strict profile.
conformance *ARGS:
    cargo build --release --locked
    tests/real/conformance {{ ARGS }}

# What clients and servers say to each other, directly and through the strict profile.
transparency *ARGS:
    cargo build --release --locked
    tests/real/transparency {{ ARGS }}

# The release binary as benches/outside (or benches/outside/resilient) sets it up, in front of a plain HTTP origin.
outside origin_port port="8080" admin_port="9090" folder="benches/outside":
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    render() { sed "s|{port}|{{ port }}|g; s|{admin_port}|{{ admin_port }}|g; s|{origin_port}|{{ origin_port }}|g; s|{dir}|$dir|g" "$1"; }
    render "{{ folder }}/proxy.toml.tmpl" > "$dir/proxy.toml"
    eval "$(render "{{ folder }}/command")"

# Everything that has to hold before a change is merged.
ci:
    .ci/run
