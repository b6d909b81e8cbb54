# The times of the failure document, measured: each failure is put into real processes by the test that stands for it, SLA_ROUNDS
# times (3), and promise and measurement go side by side into README's table.
# Detection counts from the fault until somebody who can act on it knows; mitigation until users are served again, or the longest
# that one of them waited meanwhile; recovery from the fault's end, a server's start included, until nothing of it is left (of a
# gateway: from the fault, with another in its place).
# As promised when every test passes; a test fails when a promise is broken.
# Needs what `tests/run prepare` installs. Takes about 15 minutes and 6 GiB.
# shellcheck shell=bash

RESULTS=tests/results

# Targets, and of each the tests that measure a row.
readonly SLA_TESTS=(
    crash survivors::the_others_take_all_back_and_nothing_is_lost
    kafka outage::a_dead_kafka_costs_nothing_that_was_accepted
    kafka brokers::one_broker_of_three_is_killed_and_another_hangs
    redis faults::a_redis_that_dies_first_or_is_emptied_is_filled_again
    providers push_away::push_is_away_and_comes_back
    providers codes::the_fifth_error_opens_the_breaker_and_codes_pass_it_at_once_until_it_closes
    cassandra three::one_node_of_three_dies_or_hangs_and_nobody_notices
)

campaign() {
    local rounds=${SLA_ROUNDS:-3} round at target test log=$folder/tests.txt status
    cargo build --release --workspace --locked --all-targets
    for ((round = 1; round <= rounds; round++)); do
        for ((at = 0; at < ${#SLA_TESTS[@]}; at += 2)); do
            target=${SLA_TESTS[at]} test=${SLA_TESTS[at + 1]} status=0
            say "round $round: $test"
            if ((round == 1)); then note_command cargo test --release --workspace --locked --test "$target" -- --exact "$test" --include-ignored --nocapture; fi
            cargo test --release --workspace --locked --test "$target" -- --exact "$test" --include-ignored --nocapture >>"$log" 2>&1 || status=$?
            if ((status != 0)); then failures+=("round $round: $test"); fi
        done
    done
    # A test's own line may stand before it.
    sed -n 's/.*SLA: {/{/p' "$log" >"$folder/sla.ndjson"
    table "$rounds" | tee -a "$folder/run.md" || failures+=("a row was not measured in every round")
}

# Promise beside measurement, as Markdown; into README, too, when the run is a whole one.
table() {
    python3 - "$folder/sla.ndjson" "${SLA_README:-README.md}" "$1" "$(date -u +%F)" "$(git rev-parse --short HEAD)" <<'PY'
import collections, json, statistics, sys
lines, readme, rounds, date, commit = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
rows = [
    ("gateway", "a gateway of three is killed, 2,400 of 3,000 clients on it", "< 10 s", "< 30 s", "< 5 min"),
    ("broker", "one Kafka broker of three is killed", "< 30 s", "< 60 s", "< 10 min"),
    ("kafka", "all of Kafka is killed", "< 30 s", "at once", "when it is back"),
    ("redis", "Redis is killed", "< 10 s", "< 30 s", "< 5 min"),
    ("push", "FCM answers 503", "< 60 s", "queued, others do not wait", "when it is back"),
    ("sms", "the SMS provider answers 500", "< 30 s", "the next way", "when it is back"),
    ("cassandra_node", "one Cassandra node of three is killed", "< 30 s", "nobody notices", "< 30 min"),
]
found = collections.defaultdict(list)
for line in open(lines):
    one = json.loads(line)
    found[one["failure"]].append(one)
def seconds(s):
    return f"{s * 1000:.0f} ms" if s < 1 else f"{s:.1f} s"
def cell(promise, name, key):
    all = [one[key] for one in found[name]]
    if not all:
        return f"{promise} · **not measured**"
    return f"{promise} · **{seconds(statistics.median(all))}** ({seconds(max(all))})"
out = ["| failure | detection | mitigation | recovery |", "|---|---|---|---|"]
for name, title, *promises in rows:
    keys = ("detection_s", "mitigation_s", "recovery_s")
    out.append(f"| {title} | " + " | ".join(cell(p, name, key) for p, key in zip(promises, keys)) + " |")
out.append("")
out.append(f"Promise · **median** (longest) of {rounds} rounds, {date}, commit {commit}; everything on one machine of two cores.")
text = "\n".join(out)
print("\n" + text)
whole = all(len(found[name]) == rounds for name, *_ in rows)
if whole:
    begin, end = "<!-- sla: written by tests/campaign sla -->", "<!-- sla: end -->"
    page = open(readme).read()
    head, rest = page.split(begin)
    tail = rest.split(end)[1]
    open(readme, "w").write(f"{head}{begin}\n{text}\n{end}{tail}")
sys.exit(0 if whole else 1)
PY
}
