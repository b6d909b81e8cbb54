# A room of 100,000 subscribers served while other users get their own notifications: what the others' p99 pays for it.
# ROOM_PAIRS pairs (5) of a calm and a busy stretch, in turns, on one gateway; in a busy stretch the room is sent a message a second.
# The gateway's shard has core 0. The room's clients run when nobody else wants core 1 (SCHED_IDLE), as if they were elsewhere; niced
# alone, they keep it for milliseconds from whoever wakes up, router and other clients included.
# As promised when the median of the pairs' differences is within 10 % of the calm p99, or 5 ms.
# Takes about 6 minutes and 2 GiB.
# shellcheck shell=bash

# One message a second to the room, until it is ended.
keep_room_busy() {
    local number=0
    while true; do
        number=$((number + 1))
        curl -fsS -o /dev/null "http://$router_api/v1/notifications" -H "Authorization: Bearer $(<"$work/service.key")" \
            -H 'Content-Type: application/json' -d "{\"to\":{\"topic\":\"hall\"},\"title\":\"hall $number\",\"body\":\"$(printf '%0100d' "$number")\"}"
        sleep 1
    done
}

# The others: a thousand users, 200 notifications a second, for 15 s.
others() {
    # shellcheck disable=SC2046
    load "$1" latency --url "ws://$gateway_listen" -n 1000 --user-prefix other --connect-rate 2000 --rate 200 --for 15s \
        $(posting) --expect 'lost=0,duplicated=0'
}

campaign() {
    local pairs=${ROOM_PAIRS:-5} pair crowd poster copies_before copies stays
    # The crowd stays until its own second message, which comes a minute a pair after its first.
    stays=$((pairs * 60))
    # One shard, on core 0: the other core is for router and clients.
    on_router=(taskset -c 1) on_load=(taskset -c 1)
    router_up
    gateway_up g1 "shards = 1" "accept_rate = 200000"
    note_command taskset -c 1 chrt --idle 0 "$PROGRAMS/loadtest" fanout --topic hall -n "$(scaled 100000)"
    # shellcheck disable=SC2046
    taskset -c 1 chrt --idle 0 "$PROGRAMS/loadtest" fanout --url "ws://$gateway_listen" -n "$(scaled 100000)" --user-prefix hall --topic hall --connect-rate 15000 \
        --jwt-hs256 "$work/tokens.key" --rate "$(awk "BEGIN { print 1 / $stays }")" --for "$((stays * 2))s" $(posting) --json "$folder/hall.json" >"$folder/hall.txt" 2>&1 &
    crowd=$!
    pids+=("$crowd")
    until (($(metric "$gateway_admin" tocsin_gateway_connections) >= $(scaled 100000))); do sleep 1; done
    sleep 5
    for ((pair = 1; pair <= pairs; pair++)); do
        others "calm-$pair"
        copies_before=$(metric "$gateway_admin" tocsin_gateway_sends_total)
        keep_room_busy &
        poster=$!
        others "busy-$pair"
        kill "$poster"
        wait "$poster" 2>/dev/null || true
        # The last sweep is no part of the calm that follows.
        sleep 2
        copies=$(($(metric "$gateway_admin" tocsin_gateway_sends_total) - copies_before))
        say "pair $pair: $copies frames were sent in the busy stretch"
        if ((copies < $(scaled 100000) * 5)); then failures+=("pair $pair: the room was hardly served"); fi
    done
    python3 - "$folder" "$pairs" <<'PY' | tee -a "$folder/run.md" || failures+=("the others paid more than promised")
import json, statistics, sys
folder, pairs = sys.argv[1], int(sys.argv[2])
p99 = {kind: [json.load(open(f"{folder}/{kind}-{n}.json"))["latency_ms"]["p99"] for n in range(1, pairs + 1)] for kind in ("calm", "busy")}
paid = statistics.median(busy - calm for calm, busy in zip(p99["calm"], p99["busy"]))
calm = statistics.median(p99["calm"])
print("\n| pair | calm p99, ms | busy p99, ms |\n|---|---|---|")
for n, (a, b) in enumerate(zip(p99["calm"], p99["busy"]), 1):
    print(f"| {n} | {a:.2f} | {b:.2f} |")
print(f"\nmedian of the differences: {paid:.2f} ms; calm p99 {calm:.2f} ms")
sys.exit(0 if paid <= max(5.0, calm / 10) else 1)
PY
}
