# The stages of tests/run: for each a budget in seconds on two cores, cold, and a function that fails when it fails.
# Sourced by tests/run; runs nothing by itself. A line `SKIPPED: why` is counted and shown at the end.
# shellcheck shell=bash

readonly TOTAL_BUDGET=3600
# name:seconds, in the order in which they run.
readonly STAGES=(
    prepare:240 build:900 fmt:10 clippy:300 alone:120 wasm:60 layering:20 deny:60
    unit:420 sim:120 e2e:300 crash:300 hostile:170 haproxy:90 kafka:440 redis:180 providers:120 cassandra:200 browser:150 readme:180
)

all_stages() {
    local names=("${STAGES[@]%%:*}")
    echo "${names[*]}"
}

list_stages() {
    printf '%s\n' "${STAGES[@]}" | tr ':' '\t'
}

budget_of() {
    local entry
    for entry in "${STAGES[@]}"; do
        if [[ ${entry%%:*} == "$1" ]]; then echo "${entry##*:}"; fi
    done
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# The same selection and profile everywhere, so that nothing is built twice.
readonly WORKSPACE=(--release --workspace --locked)

open_files() {
    ulimit -n "$(ulimit -Hn)" || true
}

# One target of the tests package: cargo builds it if needed, then its own counts are shown.
test_target() {
    open_files
    cargo test "${WORKSPACE[@]}" --test "$1" -- "${@:2}"
}

stage_prepare() {
    prepare_apt
    prepare_rust
    prepare_kafka
    prepare_cassandra
    prepare_node
    prepare_prism
    prepare_venv
    prepare_advisories
}

# Installs what is missing, and asks for package lists only then.
prepare_apt() {
    local wanted=() pair
    for pair in kcat:kcat chromium:chromium java:openjdk-17-jre-headless mvn:maven node:nodejs npm:npm \
        curl:curl openssl:openssl setpriv:util-linux python3:python3 git:git ip:iproute2; do
        command -v "${pair%%:*}" >/dev/null || wanted+=("${pair##*:}")
    done
    python3 -c 'import venv, ensurepip' 2>/dev/null || wanted+=(python3-venv)
    # These are not on every user's PATH.
    for pair in haproxy:haproxy nft:nftables redis-server:redis-server; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || wanted+=("${pair##*:}")
    done
    if [[ ! -d /usr/share/fonts/truetype/dejavu ]]; then wanted+=(fonts-dejavu-core); fi
    if ((${#wanted[@]} == 0)); then
        echo "apt: nothing is missing"
        return
    fi
    echo "apt: ${wanted[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
}

prepare_rust() {
    command -v cargo-clippy >/dev/null || rustup component add clippy
    command -v rustfmt >/dev/null || rustup component add rustfmt
}

# A Java server's jars, through a pom that names it.
prepare_jars() {
    local pom=tests/servers/$1/pom.xml libs=target/servers/$1/libs done=target/servers/$1/pom.xml
    if cmp -s "$pom" "$done"; then
        echo "$1: there"
        return
    fi
    mkdir -p "$libs"
    mvn -q -B -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$PWD/$libs"
    cp "$pom" "$done"
    echo "$1: $(find "$libs" -name '*.jar' | wc -l) jars"
}

prepare_kafka() {
    prepare_jars kafka
}

prepare_cassandra() {
    prepare_jars cassandra
}

# From $1, with its package-lock.json, into $2. npm writes `node_modules/.package-lock.json` last, so an interrupted one is begun anew.
prepare_npm() {
    local mark=$2/node_modules/.package-lock.json
    if cmp -s "$1/package-lock.json" "$2/package-lock.json" && [[ -e $mark ]]; then
        echo "${2##*/}: there"
        return
    fi
    mkdir -p "$2"
    rm -f "$mark"
    cp "$1/package.json" "$1/package-lock.json" "$2/"
    npm ci --prefix "$2" --no-audit --no-fund --ignore-scripts
}

prepare_node() {
    prepare_npm tests/browser target/node
}

# Prism, and Twilio's own description of its API, which a package of Twilio's carries among much else: that one file is taken out.
prepare_prism() {
    local package=@twilio-alpha/mcp@0.7.0 file=package/twilio-oai/spec/json/twilio_api_v2010.json packed
    local sum=475b69553e34e797af05d34679cdad3bc3b8b4b8b92e6ac044fa6ebc255bf052
    prepare_npm tests/prism target/prism
    if sha256sum --quiet --status -c <<<"$sum  target/prism/${file##*/}" 2>/dev/null; then
        return
    fi
    packed=$(npm pack "$package" --silent --ignore-scripts --pack-destination target/prism)
    tar -xzOf "target/prism/$packed" "$file" >"target/prism/${file##*/}"
    rm "target/prism/$packed"
    sha256sum --quiet -c <<<"$sum  target/prism/${file##*/}"
}

prepare_venv() {
    if cmp -s tests/python/requirements.txt target/venv/requirements.txt; then
        echo "python: there"
        return
    fi
    python3 -m venv target/venv
    target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
    cp tests/python/requirements.txt target/venv/requirements.txt
}

# The database of known holes is a git repository; where it cannot be had, the deny stage says so.
prepare_advisories() {
    local folder=target/advisory-db url=https://github.com/rustsec/advisory-db
    if [[ -d $folder/.git ]]; then
        timeout 60 git -C "$folder" pull -q --ff-only || echo "advisories: not renewed"
    elif ! GIT_TERMINAL_PROMPT=0 timeout 60 git clone -q --depth 1 "$url" "$folder" 2>/dev/null; then
        echo "advisories: $url cannot be had"
    fi
}

stage_build() {
    cargo build "${WORKSPACE[@]}" --all-targets
}

stage_fmt() {
    cargo fmt --all --check
}

stage_clippy() {
    cargo clippy "${WORKSPACE[@]}" --all-targets -- -D warnings
}

# The gateway without the router in it.
stage_alone() {
    cargo check --release --locked -p gateway --no-default-features
}

# wire is sans-IO, so it compiles where there is no operating system.
stage_wasm() {
    local target=wasm32-unknown-unknown
    if ! rustup target list --installed 2>/dev/null | grep -q "$target" && ! rustup target add "$target"; then
        echo "SKIPPED: wasm: the target $target cannot be had"
        return
    fi
    RUSTFLAGS='--cfg getrandom_backend="custom"' cargo build --locked -p wire --target "$target" --release
}

stage_layering() {
    test_target layering
}

stage_deny() {
    test_target deny
    if [[ ! -d target/advisory-db/crates ]]; then
        echo "SKIPPED: deny: advisories: the database (github.com/rustsec/advisory-db) cannot be had"
    fi
}

# Everything beside the code: unit, property and integration tests of each crate.
stage_unit() {
    open_files
    local names=() file
    for file in {wire,wire/ops,gateway,gateway/ring,router,loadtest,tuning}/tests/*.rs; do
        if [[ -f $file ]]; then names+=(--test "$(basename "$file" .rs)"); fi
    done
    for file in {wire,wire/ops,gateway,gateway/ring,router,loadtest,tuning}/tests/*/main.rs; do
        if [[ -f $file ]]; then names+=(--test "$(basename "$(dirname "$file")")"); fi
    done
    cargo test "${WORKSPACE[@]}" --no-fail-fast --lib --bins "${names[@]}"
}

# The bugs that tests/campaign planted plants must still fit the sources.
stage_sim() {
    local patch
    for patch in tests/sim/planted/*.patch; do
        grep -q '^Breaks: I[1-6]$' "$patch" || { echo "$patch: it does not say what it breaks" && return 1; }
        git apply --check "$patch" || return 1
    done
    test_target sim
}

# The programs as the sources are now; nothing to do behind the build stage.
programs() {
    cargo build "${WORKSPACE[@]}"
}

stage_e2e() {
    programs
    test_target e2e --test-threads 4
}

# One test at a time: each keeps thousands of clients and its own times.
stage_crash() {
    programs
    test_target crash --test-threads 1
}

# Attackers by the thousand, storms, and a peer that is cut off by the packet filter in a network namespace.
stage_hostile() {
    programs
    test_target hostile --test-threads 1 --nocapture
}

stage_haproxy() {
    programs
    test_target haproxy --test-threads 2
}

# Three brokers take the machine for themselves.
stage_kafka() {
    programs
    test_target kafka --test-threads 2 --skip brokers::
    test_target kafka brokers::
}

# One at a time: they share one server, and some kill or freeze it.
stage_cassandra() {
    programs
    test_target cassandra --test-threads 1
}

stage_redis() {
    programs
    test_target redis --test-threads 4
}

stage_providers() {
    programs
    test_target providers --test-threads 4
}

stage_browser() {
    programs
    test_target browser --test-threads 1
}

stage_readme() {
    PATH="$PWD/target/venv/bin:$PATH" test_target readme --test-threads 1
}
