# Outcomes: what it costs that each final outcome is told to Kafka (`[kafka] outcomes`). One broker; the same router with it and
# without it in turns, ROUNDS pairs (5): 50,000 in-app notifications to 5,000 users by batches, as fast as they are taken, until all are in the
# ledger and nothing waits to be told. Counted: the CPU of the owner's thread, of the whole router, and how long it took. The
# broker is on the same cores. They are told by default only if the median of the pairs' ratios is at most 1.10 for the owner; it was
# not when this was written. As expected when every round ends.
# Needs what `tests/run prepare` installs. Takes about 4 minutes.
# shellcheck shell=bash

# shellcheck source=tests/campaigns/outage.sh
source <(sed '/^campaign() {/,$d' tests/campaigns/outage.sh)

# Ticks of CPU: of the owner's thread, and of the whole router.
ticks() {
    local task
    for task in /proc/"$router_pid"/task/*; do
        if [[ $(<"$task/comm") == router-owner ]]; then awk '{ printf "%d ", $14 + $15 }' "$task/stat"; fi
    done
    awk '{ print $14 + $15 }' "/proc/$router_pid/stat"
}

lines() {
    python3 -c '
import sys
for n in range(int(sys.argv[1])):
    print("{\"to\":{\"user\":\"told-%d\"},\"title\":\"%d\",\"body\":\"%s\"}" % (n % 5000, n, "x" * 128))' "$1"
}

# Everything is in the ledger, and nothing waits to be told.
settled() {
    curl -fsS "http://$router_api/v1/reconcile" -H "Authorization: Bearer $(<"$work/service.key")" |
        python3 -c 'import json, sys; found = json.load(sys.stdin); sys.exit(found["accepted"] != int(sys.argv[1]) or found["journal_lag"] != 0 or found["open"] != 0)' "$1" &&
        [[ $(metric "$router_admin" tocsin_router_outcomes_waiting) == 0 ]]
}

# One round; a line with its figures, in milliseconds.
round() {
    local told=$1 owner whole began after now by
    # The setting is all that changes: same folder, same topics.
    sed -i "s/^outcomes = .*/outcomes = $told/" "$work/router.toml"
    start router "$PROGRAMS/router" --config "$work/router.toml" --data "$work/data"
    router_pid=$pid
    wait_ready "$router_admin" "$pid"
    # The group is found together and the connections are warm before anything is counted.
    hand_in 5000
    read -r owner whole < <(ticks)
    began=$(date +%s%N)
    for ((i = 0; i < count / 5000; i++)); do hand_in 0; done
    by=$((SECONDS + 120))
    until settled "$accepted"; do
        ((SECONDS < by)) || { failures+=("a round did not end") && break; }
        sleep 0.05
    done
    now=$(date +%s%N)
    # shellcheck disable=SC2207
    after=($(ticks))
    echo "$told $(((after[0] - owner) * 10)) $(((after[1] - whole) * 10)) $(((now - began) / 1000000))" >>"$folder/rounds.txt"
    down
}

# A batch of 5,000; with an argument it is waited for.
hand_in() {
    curl -fsS "http://$router_api/v1/notifications/batch" -H "Authorization: Bearer $(<"$work/service.key")" \
        -H 'Content-Type: application/x-ndjson' --data-binary @"$work/lines.ndjson" -o /dev/null
    accepted=$((accepted + 5000))
    if (($1 > 0)); then until settled "$accepted"; do sleep 0.05; done; fi
}

campaign() {
    local count accepted=0
    count=$(scaled 50000)
    lines 5000 >"$work/lines.ndjson"
    kafka_up
    router_up '[kafka]' "brokers = [\"$broker\"]" 'partitions = 4' 'outcomes = false'
    hand_in 5000
    down
    for ((pair = 0; pair < ${ROUNDS:-5}; pair++)); do
        # Whoever goes first is not always the same.
        if ((pair % 2)); then round true && round false; else round false && round true; fi
        say "pair $((pair + 1)): $(tail -2 "$folder/rounds.txt" | tr '\n' ';')"
    done
    python3 - "$folder/rounds.txt" <<'PY' | tee -a "$folder/run.md"
import statistics, sys
rows = [line.split() for line in open(sys.argv[1])]
pairs = [dict((row[0], list(map(int, row[1:]))) for row in rows[at:at + 2]) for at in range(0, len(rows), 2)]
print("\n## What was found\n\n| | without, ms | with, ms | ratio (range) |\n|---|---|---|---|")
for at, name in enumerate(["CPU of the owner's thread", "CPU of the router", "until all was done"]):
    ratios = [pair["true"][at] / pair["false"][at] for pair in pairs]
    medians = [statistics.median(pair[told][at] for pair in pairs) for told in ("false", "true")]
    print(f"| {name} | {medians[0]:.0f} | {medians[1]:.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |")
PY
}
