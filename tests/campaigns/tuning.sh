# What each value of `tuning check` changes here: loadtest against gateway, with and without it, interleaved.
#
#   bash tests/campaigns/tuning.sh [EXPERIMENT…]     all, or some of: see --list; or: tests/campaign tuning
#
# Needs root (network namespaces, sysctls), python3, curl, ip, ss and nstat. Each trial runs in a network namespace of its own, so
# its ports and its net.* values are nobody else's. Values of the whole host (netdev_max_backlog, tcp_mem, huge pages) are set for
# their trials and restored, also when this is interrupted. REPEATS (5) trials of each variant, their medians and ranges; about
# 25 minutes. Standing alone it takes the programs from target/release and keeps its result in tests/results/DATE-tuning/.
# shellcheck shell=bash

if [[ ${BASH_SOURCE[0]} != "$0" ]]; then
    campaign() { OUT=$folder bash tests/campaigns/tuning.sh; }
    return 0
fi

set -euo pipefail
cd "$(dirname "$0")/../.."

readonly REPEATS=${REPEATS:-5}
readonly OUT=${OUT:-tests/results/$(date +%F)-tuning}
readonly BIN=${BIN:-target/release}
readonly EXPERIMENTS=(somaxconn syn ports ports-nearly-full time-wait nofile buckets backlog slow-readers tcp-mem slow-start huge-pages)
readonly READY_S=20

space="" server="" client="" work=$(mktemp -d)
declare -A host_values=()

# --- values of the whole host ------------------------------------------------

# host_value FILE VALUE: sets it for a trial; what was found is restored at the end.
host_value() {
    if [[ -z ${host_values[$1]+there} ]]; then
        if [[ $1 == *transparent_hugepage* ]]; then
            host_values[$1]=$(sed 's/.*\[\(.*\)\].*/\1/' "$1")
        else
            host_values[$1]=$(cat "$1")
        fi
    fi
    echo "$2" >"$1"
}

restore_host() {
    local file
    for file in "${!host_values[@]}"; do echo "${host_values[$file]}" >"$file"; done
    host_values=()
}

# --- a namespace with a gateway in it ----------------------------------------

inside() { ip netns exec "$space" "$@"; }

# open_space [NAME=VALUE…]: a namespace with loopback and these sysctls.
open_space() {
    space=tocsin-tuning-$$
    ip netns add "$space"
    inside ip link set lo up
    local pair
    for pair in "$@"; do inside sysctl -qw "$pair"; done
}

# One whose table of connections has so many buckets: a child of a namespace that says so.
open_space_with_buckets() {
    local parent=tocsin-tuning-parent-$$
    ip netns add "$parent"
    ip netns exec "$parent" sysctl -qw "net.ipv4.tcp_child_ehash_entries=$1"
    space=tocsin-tuning-$$
    nsenter "--net=/run/netns/$parent" ip netns add "$space"
    ip netns del "$parent"
    inside ip link set lo up
}

# start_gateway [PREFIX…]: with admission wide open, so that the host is what limits.
start_gateway() {
    printf '[gateway]\naccept_rate = 10000000\n' >"$work/gateway.toml"
    ip netns exec "$space" "$@" "$BIN/gateway" --config "$work/gateway.toml" --data "$work/data" \
        >"$work/gateway.log" 2>&1 &
    server=$!
    local tries=$((READY_S * 20))
    until inside curl -sf -o "$work/ready" http://127.0.0.1:9101/readyz; do
        if ! kill -0 "$server" 2>/dev/null || ((--tries == 0)); then
            cat "$work/gateway.log" >&2
            return 1
        fi
        sleep 0.05
    done
}

end_trial() {
    local pid
    for pid in $client $server; do
        kill -CONT "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    client="" server=""
    if [[ -n $space ]]; then ip netns del "$space" 2>/dev/null || true; fi
    space=""
    rm -rf "$work/data"
}

finish() {
    end_trial
    ip netns del "tocsin-tuning-parent-$$" 2>/dev/null || true
    restore_host
    rm -rf "$work"
}

# load SCENARIO ARGUMENTS…: its report is in $work/report.json, its failure is a finding.
load() {
    inside "$BIN/loadtest" "$@" --server-pid "$server" --json "$work/report.json" >"$work/load.log" 2>&1 || true
}

load_in_background() {
    ip netns exec "$space" "$BIN/loadtest" "$@" --server-pid "$server" --json "$work/report.json" >"$work/load.log" 2>&1 &
    client=$!
}

connections() { inside ss -Hnt state established "sport = :8080" | wc -l; }

# wait_for_connections N
wait_for_connections() {
    local tries=400
    until (($(connections) >= $1)) || ((--tries == 0)); do sleep 0.05; done
}

# Counters of the namespace that tell what the kernel did.
counters() { inside nstat -asz "$@" 2>/dev/null | awk 'NR > 1 { print $1 "=" $2 }'; }
softnet_dropped() { python3 -c 'print(sum(int(l.split()[1], 16) for l in open("/proc/net/softnet_stat")))'; }

# --- what is kept ------------------------------------------------------------

# keep EXPERIMENT VARIANT FIGURE=VALUE…: one line of JSON.
keep() {
    python3 - "$@" >>"$OUT/runs.jsonl" <<'PY'
import json, sys
experiment, variant, *figures = sys.argv[1:]
number = lambda text: float(text) if text not in ("", "None") else None
print(json.dumps({"experiment": experiment, "variant": variant,
                  "figures": {name: number(value) for name, value in (pair.split("=", 1) for pair in figures)}}))
PY
    tail -1 "$OUT/runs.jsonl" >&2
}

# report FIELD…: FIGURE=VALUE for each, from loadtest's report; a field is dotted.
report() {
    python3 - "$work/report.json" "$@" <<'PY'
import json, os, sys
file, *fields = sys.argv[1:]
report = json.load(open(file)) if os.path.exists(file) and os.path.getsize(file) else {}
for field in fields:
    value = report
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    print(f"{field}={value if not isinstance(value, bool) else int(value)}")
PY
    rm -f "$work/report.json"
}

readonly CAME_IN=(connections.established connections.per_s handshake_ms.p99 handshake_ms.max server.cpu_ns_per_handshake)
readonly FANNED_OUT=(messages.received messages.lost latency_ms.p50 latency_ms.p99 server.busy_ns_per_message)

# --- experiments: each a list of variants, and a trial of one ---------------

# A shard that is busy for a second while 20,000 clients come: what waits where?
variants_somaxconn() { echo "128 4096 65535 65535+abort 128+abort"; }
trial_somaxconn() {
    local abort=0
    if [[ $1 == *+abort ]]; then abort=1; fi
    open_space "net.core.somaxconn=${1%+abort}" "net.ipv4.tcp_abort_on_overflow=$abort"
    start_gateway
    kill -STOP "$server"
    load_in_background hold -n 20000 --rate 40000 --threads 4 --for 1s
    sleep 1.5
    kill -CONT "$server"
    wait "$client" || true
    client=""
    keep somaxconn "$1" $(report "${CAME_IN[@]}" connections.failed) $(counters TcpExtListenOverflows TcpExtTCPTimeouts)
}

# The same without SYN cookies, with a short and a long queue of half-open handshakes.
variants_syn() { echo "cookies+128 cookies+262144 none+128 none+262144"; }
trial_syn() {
    local cookies=1
    if [[ $1 == none+* ]]; then cookies=0; fi
    open_space net.core.somaxconn=65535 "net.ipv4.tcp_syncookies=$cookies" "net.ipv4.tcp_max_syn_backlog=${1#*+}"
    start_gateway
    load hold -n 20000 --rate 40000 --threads 4 --for 1s
    keep syn "$1" $(report "${CAME_IN[@]}") $(counters TcpExtTCPReqQFullDrop TcpExtTCPReqQFullDoCookies TcpExtTCPTimeouts)
}

# More clients than the default range has ports, from one address.
variants_ports() { echo "32768-60999 1024-65535"; }
trial_ports() {
    open_space "net.ipv4.ip_local_port_range=${1/-/ }"
    start_gateway
    load hold -n 40000 --rate 20000 --sources 127.0.0.1 --best-effort --for 1s
    keep ports "$1" $(report "${CAME_IN[@]}" client.cpu)
}

# The last ports of a range are hard to find.
variants_ports-nearly-full() { echo "32768-60999 1024-65535"; }
trial_ports-nearly-full() {
    open_space "net.ipv4.ip_local_port_range=${1/-/ }"
    start_gateway
    load hold -n 28000 --rate 14000 --sources 127.0.0.1 --threads 1 --for 1s
    keep ports-nearly-full "$1" $(report "${CAME_IN[@]}" client.cpu client.loop_lag_ms)
}

# A second run on the ports of the first.
variants_time-wait() { echo "0 1 2"; }
trial_time-wait() {
    open_space "net.ipv4.tcp_tw_reuse=$1"
    start_gateway
    load hold -n 25000 --rate 12500 --sources 127.0.0.1 --for 1s
    rm -f "$work/report.json"
    local waiting
    waiting=$(inside ss -Hnt state time-wait | wc -l)
    sleep 1.2
    load hold -n 25000 --rate 12500 --sources 127.0.0.1 --attempts 2 --for 1s
    keep time-wait "$1" "time_wait_between=$waiting" $(report "${CAME_IN[@]}" connections.failed) $(counters TcpExtTWRecycled)
}

# Rings follow the file-descriptor limit. Also: what a connection counts as on the host, and what rings map.
variants_nofile() { echo "1024 4096 20000"; }
trial_nofile() {
    local before files rings maps descriptors
    open_space
    start_gateway prlimit "--nofile=$1:$1"
    rings=$(sed -n 's/^shard 0 *\([0-9]*\) rings.*/\1/p' "$work/gateway.log")
    before=$(cut -f1 /proc/sys/fs/file-nr)
    load_in_background fanout -n 10000 --connect-rate 10000 --rate 5 --for 6s
    wait_for_connections 10000
    files=$(($(cut -f1 /proc/sys/fs/file-nr) - before))
    maps=$(wc -l <"/proc/$server/maps")
    descriptors=$(find "/proc/$server/fd" -mindepth 1 | wc -l)
    wait "$client" || true
    client=""
    keep nofile "$1" "rings_per_shard=$rings" "files_per_connection=$(python3 -c "print($files / 10000)")" "maps=$maps" \
        "descriptors=$descriptors" $(report "${FANNED_OUT[@]}" server.cpu_ns_per_handshake)
}

# 32,000 sockets (both ends of 16,000): chains as long as those of a million connections under 262,144 buckets at 4,096.
variants_buckets() { echo "4096 32768 262144"; }
trial_buckets() {
    open_space_with_buckets "$1"
    start_gateway
    load fanout -n 16000 --connect-rate 16000 --rate 3 --for 6s
    keep buckets "$1" $(report "${FANNED_OUT[@]}" server.cpu_ns_per_handshake)
}

# Loopback's packets wait in the same queue as a card's under RPS.
variants_backlog() { echo "100 1000 65536"; }
trial_backlog() {
    local dropped
    open_space
    start_gateway
    host_value /proc/sys/net/core/netdev_max_backlog "$1"
    dropped=$(softnet_dropped)
    load fanout -n 10000 --connect-rate 10000 --rate 8 --for 6s
    keep backlog "$1" "softnet_dropped=$(($(softnet_dropped) - dropped))" $(report "${FANNED_OUT[@]}") \
        $(counters TcpRetransSegs)
}

# 200 readers stop reading while 100 messages of 16 KB go to all: what does the kernel keep for each?
variants_slow-readers() { echo "default notsent profile"; }
trial_slow-readers() {
    local values=() before
    case $1 in
        notsent) values=(net.ipv4.tcp_notsent_lowat=131072) ;;
        profile) values=(net.ipv4.tcp_notsent_lowat=131072 "net.ipv4.tcp_rmem=4096 8192 262144" "net.ipv4.tcp_wmem=4096 16384 1048576") ;;
    esac
    open_space "${values[@]}"
    start_gateway
    load_in_background hold -n 200 --rate 2000 --for 60s
    wait_for_connections 200
    before=$(awk '/VmRSS/ { print $2 }' "/proc/$server/status")
    kill -STOP "$client"
    python3 - >"$work/body.json" <<'PY'
import json
print(json.dumps({"to": {"all": True}, "title": "a long one", "body": "x" * 16000}))
PY
    local message
    for message in {1..100}; do
        inside curl -sf -o "$work/answer" http://127.0.0.1:8090/v1/notifications -H 'Authorization: Bearer dev' \
            -H "Idempotency-Key: slow-$message" -H 'Content-Type: application/json' -d "@$work/body.json"
    done
    sleep 2
    # skmem: r is what waits to be read, w what waits to be sent, each with its overhead; the server's end is port 8080.
    inside ss -Hntm state established >"$work/sockets"
    keep slow-readers "$1" $(python3 - "$work/sockets" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
sent = read = 0
for match in re.finditer(r"^(\d+)\s+(\d+)\s+(\S+)\s+(\S+).*?skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f\d+,w(\d+)", text, re.M | re.S):
    if match[3].endswith(":8080"):
        sent += int(match[6])
    elif match[4].endswith(":8080"):
        read += int(match[5])
print(f"server_kernel_kib_each={sent / 200 / 1024:.1f} client_kernel_kib_each={read / 200 / 1024:.1f}")
PY
    ) "server_rss_kib_each=$(python3 -c "print(($(awk '/VmRSS/ { print $2 }' "/proc/$server/status") - $before) / 200)")"
}

# 300 frozen readers hold what TCP may have; do those who read notice? tight: 32 MiB for all sockets.
variants_tcp-mem() { echo "tight default profile"; }
trial_tcp-mem() {
    local pages frozen
    pages=$(($(awk '/MemTotal/ { print $2 }' /proc/meminfo) / 4))
    open_space
    case $1 in
        tight) host_value /proc/sys/net/ipv4/tcp_mem "2048 4096 8192" ;;
        profile) host_value /proc/sys/net/ipv4/tcp_mem "$((pages / 4)) $((pages * 33 / 100)) $((pages / 2))" ;;
    esac
    start_gateway
    ip netns exec "$space" "$BIN/loadtest" hold -n 300 --rate 3000 --user-prefix frozen --for 60s >"$work/frozen.log" 2>&1 &
    frozen=$!
    wait_for_connections 300
    kill -STOP "$frozen"
    load fanout -n 500 --connect-rate 2000 --rate 20 --size 16000 --for 5s
    keep tcp-mem "$1" $(report "${FANNED_OUT[@]}") $(counters TcpExtTCPMemoryPressures TcpExtTCPAbortOnMemory TcpRetransSegs TcpExtTCPRcvQDrop)
    kill -CONT "$frozen" && kill -KILL "$frozen"
    wait "$frozen" 2>/dev/null || true
    restore_host
}

# A frame of 16 KB on a connection that was idle for a second.
variants_slow-start() { echo "1 0"; }
trial_slow-start() {
    open_space "net.ipv4.tcp_slow_start_after_idle=$1"
    start_gateway
    load fanout -n 1000 --connect-rate 5000 --rate 1 --size 16000 --for 6s
    keep slow-start "$1" $(report "${FANNED_OUT[@]}") $(counters TcpExtTCPTimeouts)
}

# What a connection costs the gateway when every touched page is a huge one.
variants_huge-pages() { echo "always madvise"; }
trial_huge-pages() {
    host_value /sys/kernel/mm/transparent_hugepage/enabled "$1"
    open_space
    start_gateway
    load hold -n 20000 --rate 20000 --for 2s
    keep huge-pages "$1" $(report connections.established server.rss_before_bytes server.rss_bytes server.bytes_per_connection)
    restore_host
}

# --- the report --------------------------------------------------------------

summary() {
    python3 - "$OUT/runs.jsonl" >"$OUT/report.md" <<'PY'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
experiments = dict.fromkeys(run["experiment"] for run in runs)
def shown(values):
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    low, middle, high = min(values), statistics.median(values), max(values)
    text = lambda value: f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return text(middle) if low == high else f"{text(middle)} ({text(low)}–{text(high)})"
print("# What the values change here\n\nMedians (lowest–highest) of interleaved trials; `tests/campaigns/tuning.sh`.\n")
for line in open(sys.argv[1].replace("runs.jsonl", "machine.txt")):
    print(f"- {line.strip()}")
for experiment in experiments:
    mine = [run for run in runs if run["experiment"] == experiment]
    variants = dict.fromkeys(run["variant"] for run in mine)
    figures = dict.fromkeys(name for run in mine for name in run["figures"])
    print(f"\n## {experiment}\n\n| | " + " | ".join(variants) + " |\n|---|" + "---|" * len(variants))
    for figure in figures:
        cells = [shown([run["figures"].get(figure) for run in mine if run["variant"] == variant]) for variant in variants]
        print(f"| {figure} | " + " | ".join(cells) + " |")
    count = len(mine) // max(len(variants), 1)
    print(f"\n{count} trials each.")
PY
    echo "$OUT/report.md"
}

machine() {
    echo "commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' with changes')"
    echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) cores, $(awk '/MemTotal/ { print int($2 / 1048576 + 0.5) }' /proc/meminfo) GiB, Linux $(uname -r)"
    echo "host: somaxconn $(cat /proc/sys/net/core/somaxconn), tcp_mem $(tr '\t' ' ' </proc/sys/net/ipv4/tcp_mem), netdev_max_backlog $(cat /proc/sys/net/core/netdev_max_backlog), congestion control $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
    echo "load average when it began: $(cut -d' ' -f1-3 /proc/loadavg)"
}

main() {
    local experiment variant repeat wanted=("$@")
    if ((${#wanted[@]} == 0)); then wanted=("${EXPERIMENTS[@]}"); fi
    for experiment in "${wanted[@]}"; do
        if ! declare -F "trial_$experiment" >/dev/null; then
            echo "tuning.sh: there is no experiment '$experiment'; there are: ${EXPERIMENTS[*]}" >&2
            exit 2
        fi
    done
    if ((EUID != 0)); then
        echo "tuning.sh: needs root, for network namespaces and sysctls" >&2
        exit 2
    fi
    mkdir -p "$OUT"
    trap finish EXIT
    trap 'exit 130' INT TERM
    ulimit -n "$(ulimit -Hn)"
    if [[ ! -f $OUT/machine.txt ]]; then machine >"$OUT/machine.txt"; fi
    for experiment in "${wanted[@]}"; do
        for ((repeat = 0; repeat < REPEATS; repeat++)); do
            for variant in $("variants_$experiment"); do
                "trial_$experiment" "$variant"
                end_trial
            done
        done
    done
    summary
}

case ${1:-} in
-h | --help) sed -n '/^#/!q;s/^# \{0,1\}//p' "$0" ;;
--list) printf '%s\n' "${EXPERIMENTS[@]}" ;;
*) main "$@" ;;
esac
