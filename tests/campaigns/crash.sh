# Three gateways, one of them with 200,000 connections, killed by SIGKILL: the other two take all back, nothing is lost.
# Once with the 30 s spread hint in `welcome` (all back in 35 s) and once with the default of one second (60 s), when only the
# accept budget of each survivor (ACCEPT_RATE) spreads them. Messages go on meanwhile, to everybody; the router must notice the
# dead node in less than ten seconds.
# Takes about 10 minutes and 4 GiB.
# shellcheck shell=bash

CROWD=${CROWD:-200000}
# What each gateway takes in a second: enough for the crowd in half a minute, little enough for those who are there.
ACCEPT_RATE=${ACCEPT_RATE:-$((CROWD / 40))}
# Beside the crowd, each survivor holds a tenth of it.
readonly SHARES=10,1,1

# Notes the router's links five times a second: "epoch_s links".
watch_links() {
    while true; do
        echo "$(date +%s.%N) $(metric "$router_admin" tocsin_router_links)" >>"$1"
        sleep 0.2
    done
}

# How long after the cut the router had fewer links than at it.
noticed() {
    local links=$1 report=$2 cut
    cut=$(sed -n 's/^ *"cut_at": "\(.*\)",$/\1/p' "$report" | head -1)
    if [[ -z $cut ]]; then return; fi
    awk -v cut="$(date -d "$cut" +%s.%N)" '
        $1 < cut { before = $2 }
        $1 >= cut && $2 < before { printf "%.1f", $1 - cut; exit }' "$links"
}

# What the survivors' p99 was while connections were still being lost, and from then on.
survivors() {
    python3 - "$1" <<'PY'
import json, sys
storm = json.load(open(sys.argv[1]))["storm"]
p99 = lambda part: (storm.get(part) or {}).get("p99", "unknown")
print(f"survivors' p99: {p99('survivors_losing_ms')} ms in the {storm['losing_s']} s in which connections were still being lost, "
      f"{p99('survivors_later_ms')} ms later; calm {p99('before_ms')} ms")
PY
}

crash() {
    local name=$1 spread_ms=$2 within_s=$3 urls=() first_pid=0 watcher seconds
    router_up
    for node in a b c; do
        gateway_up "$name-$node" "reconnect_spread_ms = $spread_ms" "accept_rate = $(scaled "$ACCEPT_RATE")" \
            "soft_limit = $((CROWD * 12 / 10 + 2000))" \
            "hard_limit = $((CROWD * 14 / 10 + 2000))"
        urls+=(--url "ws://$gateway_listen")
        if ((first_pid == 0)); then first_pid=$gateway_pid; fi
    done
    watch_links "$folder/$name-links.txt" &
    watcher=$!
    pids+=("$watcher")
    # shellcheck disable=SC2046
    load "$name" chaos "${urls[@]}" --shares "$SHARES" -n "$(scaled $((CROWD * 12 / 10)))" --connect-rate "$(scaled $((ACCEPT_RATE * 9 / 10)))" --rate 200 --for 150s \
        --cut-at 30s --kill-pid "$first_pid" --settle 60s $(posting) \
        --expect "lost=0,back_all_s<=$within_s,fourth_share<0.01,survivor_p99_ratio<=2"
    kill "$watcher"
    wait "$watcher" 2>/dev/null || true
    seconds=$(noticed "$folder/$name-links.txt" "$folder/$name.json")
    say "$name: the router stopped routing to the dead node after ${seconds:-never} s"
    printf '\n%s: %s\n' "$name" "$(survivors "$folder/$name.json")" >>"$folder/run.md"
    printf '\n%s: the router dropped the dead links %s s after the kill.\n' "$name" "${seconds:-never:}" >>"$folder/run.md"
    if [[ -z $seconds ]] || awk "BEGIN { exit !($seconds >= 10) }"; then failures+=("$name: links"); fi
    curl -fsS "http://$router_api/v1/reconcile" -H "Authorization: Bearer $(<"$work/service.key")" >"$folder/$name-reconcile.json"
    local pid
    for pid in "${pids[@]}"; do end_one "$pid"; done
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
    rm -rf "$work/data"
}

campaign() {
    crash spread 30000 35
    crash at-once 1000 60
}
