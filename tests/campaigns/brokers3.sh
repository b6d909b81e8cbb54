# Three brokers of Kafka with three copies of each record: one is killed, another hangs; six users are sent one message after the
# other meanwhile, and none is lost, doubled or out of its order. Router, client and the three servers share the machine. Takes
# about 3 minutes and 2 GiB.
# shellcheck shell=bash

campaign() {
    local log=$folder/brokers3.txt status=0
    note_command cargo test --release --workspace --locked --test kafka -- brokers --ignored --nocapture
    cargo test --release --workspace --locked --test kafka -- brokers --ignored --nocapture >"$log" 2>&1 || status=$?
    {
        printf '\n## What was seen\n\n'
        sed -n 's/.*REPORT: /- /p' "$log"
        grep '^test result' "$log" || true
    } | tee -a "$folder/run.md"
    if ((status != 0)); then failures+=("the test of three brokers failed: $log"); fi
}
