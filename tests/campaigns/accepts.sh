# 500,000 clients let in as fast as one load tester can, by a gateway and by the bare ring loop of loadtest/peers, in turns.
# The gateway has a router beside it, one shard, admission raised out of the way, and checks a token of each client. Each server
# has core 0 for itself; load tester and router share core 1. ROUNDS rounds (3), each with fresh servers. As promised when the
# gateway lets in at least 0.9 of what the bare loop does in a second, by the median of the rounds' ratios. Where the load tester
# was the bottleneck of both, the rate says little; the servers' CPU time a handshake is told beside it.
# Takes about 8 minutes and 5 GiB.
# shellcheck shell=bash

CROWD=${CROWD:-500000}
readonly WELCOME='{"type":"welcome","session":"s","node":"raw","ping_interval_ms":25000,"server_time":"2026-01-01T00:00:00Z","reconnect":{"spread_ms":1000,"max_ms":30000}}'

raw_up() {
    free_port
    raw_listen=127.0.0.1:$port
    start "$1" taskset -c 0 "$PROGRAMS/peer-raw" --listen "$raw_listen" --connections $((clients + 2000)) --welcome "$WELCOME"
    for ((try = 0; try < 100; try++)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        sleep 0.1
    done
    say "the bare loop does not listen: see $1.txt"
    return 1
}

# let_in NAME ADDRESS: the server is the one that was started last.
let_in() {
    load "$1" hold --url "ws://$2" -n "$clients" --rate 200000 --for 5s --server-pid "$pid" --expect "established=$clients,failed=0,dropped=0"
    down
    # Half a million sockets are not gone at once.
    sleep "$(awk "BEGIN { print 5 / $SCALE }")"
}

campaign() {
    local round clients
    clients=$(scaled "$CROWD")
    if [[ -z ${BUILT:-} ]]; then cargo build --release --locked -p peers --bin peer-raw; fi
    on_router=(taskset -c 1) on_gateway=(taskset -c 0) on_load=(taskset -c 1)
    router_up
    for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
        gateway_up "gateway-$round" "shards = 1" "soft_limit = $((clients + 1000))" "hard_limit = $((clients + 2000))" "accept_rate = 10000000"
        let_in "gateway-$round" "$gateway_listen"
        raw_up "raw-$round"
        let_in "raw-$round" "$raw_listen"
    done
    python3 - "$folder" "${ROUNDS:-3}" <<'PY' | tee -a "$folder/run.md" || failures+=("the gateway let in less than 0.9 of what the bare loop did")
import json, statistics, sys
folder, rounds = sys.argv[1], range(1, int(sys.argv[2]) + 1)
reports = {name: [json.load(open(f"{folder}/{name}-{n}.json")) for n in rounds] for name in ("gateway", "raw")}
rate = {name: [one["connections"]["per_s"] for one in all] for name, all in reports.items()}
cost = {name: [(one["server"] or {}).get("cpu_ns_per_handshake") for one in all] for name, all in reports.items()}
shown = lambda ns: "–" if ns is None else f"{ns / 1e3:.1f}"
print("\n## Let in\n\n| round | gateway, /s | bare loop, /s | ratio | gateway, µs CPU | bare loop, µs CPU |\n|---|---|---|---|---|---|")
ratios = [ours / raw for ours, raw in zip(rate["gateway"], rate["raw"])]
for n in rounds:
    at = n - 1
    print(f"| {n} | {rate['gateway'][at]:.0f} | {rate['raw'][at]:.0f} | {ratios[at]:.2f} | {shown(cost['gateway'][at])} | {shown(cost['raw'][at])} |")
median = {name: statistics.median(all) for name, all in rate.items()}
ratio = statistics.median(ratios)
print(f"\nmedians: gateway {median['gateway']:.0f}/s, bare loop {median['raw']:.0f}/s; ratio, paired by round, {ratio:.2f} (goal: 0.9 or more)")
if all(ns for all in cost.values() for ns in all):
    ours, raw = (statistics.median(cost[name]) / 1e3 for name in ("gateway", "raw"))
    print(f"CPU a handshake: gateway {ours:.1f} µs, bare loop {raw:.1f} µs ({ours / raw:.2f} times)")
full = {name: sum(one["client"]["saturated"] for one in all) for name, all in reports.items()}
print(f"the load tester was the bottleneck in {full['gateway']} rounds of the gateway and {full['raw']} of the bare loop, of {len(rounds)} each")
sys.exit(0 if ratio >= 0.9 else 1)
PY
}
