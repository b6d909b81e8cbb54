# What campaigns share: the folder of a run, the programs under test, the load tester. Sourced by tests/campaign.
# shellcheck shell=bash

SCALE=${SCALE:-1}
readonly PROGRAMS=target/release
# The first port that is tried; each server takes the next free one.
next_port=${FIRST_PORT:-23100}
folder=""
pids=()
failures=()

say() {
    printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*" | tee -a "$folder/run.log"
}

# A share of a number, at least 1.
scaled() {
    echo $((($1 + SCALE - 1) / SCALE))
}

open_folder() {
    local place=${RESULTS:-loadtest/results}
    if ((SCALE > 1)); then place=target/campaigns; fi
    folder=${OUT:-$place/$(date -u +%Y-%m-%d)-$1}
    if [[ -n ${RESTART:-} && -f $folder/run.md ]]; then rm -rf "$folder"; fi
    if [[ -e $folder ]]; then
        echo "tests/campaign: $folder is there already (RESTART=1 replaces it, OUT=DIR keeps both)" >&2
        exit 2
    fi
    mkdir -p "$folder"
    folder=$(realpath "$folder")
    work=$(mktemp -d "${TMPDIR:-/tmp}/tocsin-campaign.XXXXXX")
}

build() {
    ulimit -n "$(ulimit -Hn)" || true
    if [[ -z ${BUILT:-} ]]; then cargo build --release --locked -p gateway -p router -p loadtest; fi
}

# The head of run.md: everything that is needed to judge and to repeat it.
describe() {
    local name=$1 file=$2 dirty=""
    if [[ -n $(git status --porcelain 2>/dev/null) ]]; then dirty=" (with changes)"; fi
    {
        printf '# %s, %s\n\n' "$name" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
        sed -n '/^#/!q;/^# shellcheck/d;s/^# \{0,1\}//p' "$file"
        printf '\n| | |\n|---|---|\n'
        printf '| commit | `%s`%s |\n' "$(git rev-parse HEAD)" "$dirty"
        printf '| machine | %s, %s cores, %s GiB; both ends on it |\n' \
            "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" \
            "$(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)"
        printf '| kernel | Linux %s |\n' "$(uname -r)"
        printf '| limits | `ulimit -n` %s, `ulimit -l` %s KiB |\n' "$(ulimit -n)" "$(ulimit -l)"
        printf '| load average before | %s |\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
        printf '| scale | 1/%s |\n' "$SCALE"
        printf '| command | `%stests/campaign %s` |\n' "$( ((SCALE > 1)) && echo "SCALE=$SCALE ")" "$name"
        for key in net.ipv4.tcp_mem net.ipv4.ip_local_port_range net.core.somaxconn net.ipv4.tcp_max_tw_buckets; do
            printf '| %s | %s |\n' "$key" "$(tr '\t' ' ' </proc/sys/"${key//./\/}" 2>/dev/null || echo unknown)"
        done
        printf '\n## Commands\n'
    } >"$folder/run.md"
    say "$name: results in ${folder#"$PWD/"}"
}

# Writes a command into run.md as it is run; secrets are in files, so there are none in it.
note_command() {
    local text="$*"
    text=${text//$work/\$WORK}
    text=${text//$folder/.}
    printf '\n```sh\n%s\n```\n' "$text" >>"$folder/run.md"
}

free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    port=$next_port
    next_port=$((next_port + 1))
}

# Words before a program that put it on a core, as (taskset -c 0); none: wherever the kernel wants it.
on_router=() on_gateway=() on_load=()

# Starts a program; its pid is in $pid, its output in NAME.txt.
start() {
    local name=$1
    shift
    note_command "$@"
    "$@" >>"$folder/$name.txt" 2>&1 &
    pid=$!
    pids+=("$pid")
}

wait_ready() {
    local admin=$1 pid=$2
    for ((try = 0; try < 600; try++)); do
        if curl -fsS -o /dev/null "http://$admin/readyz" 2>/dev/null; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    say "a program did not get ready at $admin: see its .txt"
    return 1
}

# router_up ['key = value' …]: a router with a data folder of its own, and lines (with tables) of settings. Sets router_api, router_admin, router_links, router_pid.
router_up() {
    free_port && router_api=127.0.0.1:$port
    free_port && router_admin=127.0.0.1:$port
    free_port && router_links=127.0.0.1:$port
    head -c 24 /dev/urandom | base64 | tr -d '+/=' >"$work/service.key"
    head -c 32 /dev/urandom | base64 >"$work/tokens.key"
    cat >"$work/router.toml" <<TOML
[router]
api = "$router_api"
admin = "$router_admin"
links = "$router_links"

[[router.service]]
name = "campaign"
key_file = "$work/service.key"
broadcast = true
topics = ["*"]
TOML
    if (($# > 0)); then printf '\n%s' "$@" >>"$work/router.toml"; fi
    cp "$work/router.toml" "$folder/router.toml"
    start router "${on_router[@]}" "$PROGRAMS/router" --config "$work/router.toml" --data "$work/data"
    router_pid=$pid
    wait_ready "$router_admin" "$pid"
}

# gateway_up NAME ['key = value' …]: a gateway process linked to the router. Sets gateway_listen, gateway_admin, gateway_pid.
# Lines of a table of their own come behind a line '[gateway.…]'.
gateway_up() {
    local name=$1
    shift
    free_port && gateway_listen=127.0.0.1:$port
    free_port && gateway_admin=127.0.0.1:$port
    {
        printf '[gateway]\nnode = "%s"\nlisten = "%s"\nadmin = "%s"\n' "$name" "$gateway_listen" "$gateway_admin"
        printf '%s\n' "$@"
        printf '\n[gateway.auth]\nkeys = ["%s"]\n' "$work/tokens.key"
        printf '\n[gateway.links]\nrouters = ["%s"]\n' "$router_links"
    } >"$work/$name.toml"
    cp "$work/$name.toml" "$folder/$name.toml"
    start "$name" "${on_gateway[@]}" "$PROGRAMS/gateway" --config "$work/$name.toml"
    gateway_pid=$pid
    wait_ready "$gateway_admin" "$pid"
}

# load NAME SCENARIO [flag …]: runs the load tester as the router's service; NAME.json and NAME.html are kept.
load() {
    local name=$1 scenario=$2 status=0
    shift 2
    local command=("${on_load[@]}" "$PROGRAMS/loadtest" "$scenario" --jwt-hs256 "$work/tokens.key" --json "$folder/$name.json")
    command+=(--report "$folder/$name.html" "$@")
    note_command "${command[@]}"
    say "$name: $scenario $*"
    "${command[@]}" > >(tee -a "$folder/run.log") 2> >(tee -a "$folder/$name.progress.txt" >&2) || status=$?
    if ((status != 0)); then failures+=("$name (exit $status)"); fi
    printf '\n%s: exit %s\n' "$name" "$status" >>"$folder/run.md"
    return 0
}

# Flags of `load` for scenarios that send.
posting() {
    echo --api "http://$router_api" --key-file "$work/service.key"
}

# The value of a metric, summed over its labels.
metric() {
    curl -fsS "http://$1/metrics" 2>/dev/null | awk -v name="$2" '{ split($1, part, "{") } part[1] == name { sum += $2 } END { print sum + 0 }'
}

median() {
    sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

# Ends one program in order, at last by force; only what was started here.
end_one() {
    local pid=$1
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((try = 0; try < 600; try++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# Ends what was started last.
down() {
    local last=$((${#pids[@]} - 1))
    end_one "${pids[last]}"
    wait "${pids[last]}" 2>/dev/null || true
    unset "pids[last]"
}

end_all() {
    local pid
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        pid=${pids[at]}
        end_one "$pid"
        wait "$pid" 2>/dev/null || true
    done
    pids=()
    if [[ -n ${work:-} ]]; then rm -rf "$work"; fi
}

finish() {
    local status=$1
    if ((${#failures[@]} > 0)); then
        printf '\nNot as expected: %s\n' "${failures[*]}" >>"$folder/run.md"
        say "not as expected: ${failures[*]}"
        exit 1
    fi
    say "as expected; ${folder#"$PWD/"}"
    return "$status"
}
