# Three nodes of Cassandra with three copies of each row: one dies, another hangs, and nobody notices but a figure; five
# thousand notifications that a user missed, read in pages of fifty by a router that never had them, with the time of each.
# Routers, client and the three servers share the machine. Takes about 5 minutes and 4 GiB.
# shellcheck shell=bash

campaign() {
    local log=$folder/cassandra3.txt status=0
    note_command cargo test --release --workspace --locked --test cassandra -- --ignored --test-threads 1 --nocapture
    cargo test --release --workspace --locked --test cassandra -- --ignored --test-threads 1 --nocapture >"$log" 2>&1 || status=$?
    {
        printf '\n## What was seen\n\n'
        sed -n 's/.*REPORT: /- /p' "$log"
        grep '^test result' "$log" || true
    } | tee -a "$folder/run.md"
    if ((status != 0)); then failures+=("the tests of three nodes failed: $log"); fi
}
