# Ten thousand attackers of fourteen kinds at once for half an hour, and a storm of ten times an accept budget of 2,000/s.
# HOSTILE_SECONDS (1800) is how long the siege lasts. As promised when each attacker is closed in 10 s (and what a busy
# machine adds), honest users lose nothing and hardly notice, and the gateway's memory in the second half is that of the first.
# Attackers, honest users and servers share the machine. Takes about 32 minutes and 2 GiB.
# shellcheck shell=bash

campaign() {
    local log=$folder/hostile.txt status=0
    export HOSTILE_ATTACKERS HOSTILE_ACCEPT_RATE HOSTILE_SECONDS=${HOSTILE_SECONDS:-1800}
    HOSTILE_ATTACKERS=$(scaled 10000)
    HOSTILE_ACCEPT_RATE=$(scaled 2000)
    note_command "HOSTILE_ATTACKERS=$HOSTILE_ATTACKERS HOSTILE_ACCEPT_RATE=$HOSTILE_ACCEPT_RATE HOSTILE_SECONDS=$HOSTILE_SECONDS" \
        cargo test --release --workspace --locked --test hostile -- --test-threads 1 --nocapture
    cargo test --release --workspace --locked --test hostile -- --test-threads 1 --nocapture >"$log" 2>&1 || status=$?
    {
        printf '\n## What was seen\n\n'
        sed -n 's/.*REPORT: /- /p' "$log"
        grep '^test result' "$log" || true
    } | tee -a "$folder/run.md"
    if ((status != 0)); then failures+=("the hostile tests failed: $log"); fi
}
