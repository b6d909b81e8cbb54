# A service that runs wild: 10,000,000 notifications offered in a minute, with a quota of 10,000, and what others notice.
# The minute comes in STORM_PAIRS quarters (4) of 15 s, each between a calm stretch and one of another flood: LOW without a quota, at
# twice the rate above which LOW is dropped (`shed_low_percent` of a `global_per_s` of 2,000). In every stretch a thousand users are
# sent 200 notifications a second and two hundred 50 critical ones by another service. SCALE divides rate, quota and users of the wild one.
# The gateway's shard has core 0; who offers runs when nobody else wants a core (SCHED_IDLE), as if it were elsewhere: what it could not offer
# is told.
# As promised when nobody else's copy is lost or doubled; the median of the pairs' differences of p99 is within 10 % of the calm one or
# 5 ms, for others and for criticals, in both floods; nobody got more than 20 pushes and the overflow log has exactly the rest; the
# quota held; each LOW that was dropped, and nothing else, is in the log.
# Takes about 5 minutes and 2 GiB.
# shellcheck shell=bash

readonly SECONDS_EACH=15

# Others and criticals, side by side, for a stretch.
others() {
    local critical
    # shellcheck disable=SC2046
    load "$1-critical" latency --url "ws://$gateway_listen" -n 200 --user-prefix urgent --connect-rate 2000 --rate 50 --for "${SECONDS_EACH}s" \
        --priority critical $(posting) &
    critical=$!
    # shellcheck disable=SC2046
    load "$1-others" latency --url "ws://$gateway_listen" -n 1000 --user-prefix other --connect-rate 2000 --rate 200 --for "${SECONDS_EACH}s" \
        $(posting)
    wait "$critical"
}

# offer NAME KEY [flag …]: in the background, a second after the others began; NAME.json is kept.
offer() {
    local name=$1 key=$2 command
    shift 2
    command=(chrt --idle 0 "$PROGRAMS/loadtest" offer --api "http://$router_api" --key-file "$key" --for "${SECONDS_EACH}s" --json "$folder/$name.json" "$@")
    note_command "${command[@]}"
    (sleep 1 && exec "${command[@]}") >"$folder/$name.txt" 2>&1 &
    offering=$!
}

campaign() {
    local pairs=${STORM_PAIRS:-4} pair quota users
    quota=$(scaled 10000) users=$(scaled 100)
    on_gateway=(taskset -c 0)
    head -c 24 /dev/urandom | base64 | tr -d '+/=' >"$work/wild.key"
    head -c 24 /dev/urandom | base64 | tr -d '+/=' >"$work/bulk.key"
    router_up "[[router.service]]" "name = \"wild\"" "key_file = \"$work/wild.key\"" "per_minute = $quota" \
        "[[router.service]]" "name = \"bulk\"" "key_file = \"$work/bulk.key\"" \
        "[router.limits]" "global_per_s = 2000"
    gateway_up g1 "shards = 1"
    for ((pair = 1; pair <= pairs; pair++)); do
        others "calm-$pair"
        offer "wild-$pair" "$work/wild.key" --rate "$(awk "BEGIN { print 10000000 / 60 / $SCALE }")" --users "$users" --user-prefix wild --channels push
        others "wild-$pair"
        wait "$offering" || failures+=("wild-$pair")
        offer "flood-$pair" "$work/bulk.key" --rate 6000 --priority low --users 500 --user-prefix bulk
        others "flood-$pair"
        wait "$offering" || failures+=("flood-$pair")
        # What is left of the flood is no part of the calm that follows.
        until [[ $(waiting) == 0 ]]; do sleep 0.5; done
        sleep 2
    done
    judge "$pairs" "$quota" "$users" | tee -a "$folder/run.md" || failures+=("not all is as promised")
}

# Records of the journal that nobody has decided about.
waiting() {
    curl -fsS "http://$router_api/v1/reconcile" -H "Authorization: Bearer $(<"$work/service.key")" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["journal_lag"])'
}

judge() {
    python3 - "$folder" "$router_api" "$work/service.key" "$@" <<'PY'
import collections, json, statistics, sys, urllib.request
folder, api, key = sys.argv[1], sys.argv[2], open(sys.argv[3]).read().strip()
pairs, quota, users = map(int, sys.argv[4:7])
wrong = []
def must(holds, what):
    if not holds:
        wrong.append(what)
def get(path):
    request = urllib.request.Request(f"http://{api}{path}", headers={"Authorization": f"Bearer {key}"})
    return json.load(urllib.request.urlopen(request))
def kept(name):
    return json.load(open(f"{folder}/{name}.json"))
numbers = range(1, pairs + 1)
print("\n| pair | who | calm p99, ms | wild p99, ms | flood p99, ms |\n|---|---|---|---|---|")
for who in ("others", "critical"):
    p99 = {}
    for kind in ("calm", "wild", "flood"):
        reports = [kept(f"{kind}-{n}-{who}") for n in numbers]
        p99[kind] = [report["latency_from_202_ms"]["p99"] for report in reports]
        for n, report in zip(numbers, reports):
            m = report["messages"]
            must(m["lost"] == m["duplicated"] == m["rejected"] == m["unknown"] == 0, f"{kind}-{n}-{who}: {m}")
    for n, row in zip(numbers, zip(p99["calm"], p99["wild"], p99["flood"])):
        print(f"| {n} | {who} | " + " | ".join(f"{ms:.2f}" for ms in row) + " |")
    calm = statistics.median(p99["calm"])
    for kind in ("wild", "flood"):
        paid = statistics.median(busy - calm for busy, calm in zip(p99[kind], p99["calm"]))
        print(f"| median of the differences | {who}, {kind} | {calm:.2f} | {paid:+.2f} | |")
        must(paid <= max(5.0, calm / 10), f"{who} paid {paid:.2f} ms beside {kind}")
wild, flood = [kept(f"wild-{n}") for n in numbers], [kept(f"flood-{n}") for n in numbers]
print("\n| offered | of | a second | accepted | refused | told when | offered |\n|---|---|---|---|---|---|---|")
for name, reports in (("wild", wild), ("flood", flood)):
    for n, one in zip(numbers, reports):
        told = f'{one["retry_after_told"]}, {one["retry_after_s_max"]} s at most'
        print(f'| {name}-{n} | {one["intended"]} | {one["offered_per_s"]:.0f} | {one["accepted"]} | {one["refused"]} | {told} | {one["offered"]} |')
        must(one["unknown"] == 0, f"{name}-{n}: {one['unknown']} without an answer")
for n, one in zip(numbers, wild):
    refused = one["refused"].get("429", 0)
    must(one["accepted"] <= quota, f"wild-{n}: {one['accepted']} accepted in {one['seconds']:.0f} s with {quota} a minute")
    must(one["accepted"] + refused == one["offered"], f"wild-{n}: something else than 202 and 429")
    must(refused == one["retry_after_told"], f"wild-{n}: a 429 without Retry-After")
log, after = collections.Counter(), ""
while True:
    page = get(f"/v1/overflow?limit=200{after}")
    if not page["items"]:
        break
    log.update((item["reason"], item["channel"], item["recipient"].split(":")[1].rstrip("0123456789")) for item in page["items"])
    after = f'&after={page["items"][-1]["number"]}'
book = get("/v1/reconcile")
channels = {one["channel"]: one for one in book["channels"]}
accepted = sum(one["accepted"] for one in wild)
out = channels["push"]["handed_over"] + channels["push"].get("open", 0)
held, shed = log["push_limit", "push", "wild"], log["shed", "inapp", "bulk"]
print(f"\npushes: {accepted} accepted for {users} users, {out} out, {held} in the overflow log")
print(f"LOW: {sum(one['accepted'] for one in flood)} accepted, {shed} dropped and in the log; the log: {dict((' '.join(k), v) for k, v in log.items())}")
must(book["balanced"] and book["missing"] == 0, f"the equation: {book}")
must(out <= 20 * users and (accepted < 40 * users or out == 20 * users), f"{out} pushes for {users} users")
must(out + held == accepted, f"{out} + {held} pushes are not {accepted}")
must(shed == channels["inapp"]["dropped"] and shed > 0, f"{channels['inapp']['dropped']} were dropped, {shed} are in the log")
must(set(log) <= {("push_limit", "push", "wild"), ("shed", "inapp", "bulk")}, f"others are in the log: {log}")
for line in wrong:
    print(f"\nnot as promised: {line}")
sys.exit(1 if wrong else 0)
PY
}
