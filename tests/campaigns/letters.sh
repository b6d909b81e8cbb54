# Letters: how soon a critical SMS is with its provider, and what a push costs.
# 1,000 critical SMS a second in batches of ten by HTTP, open loop, to a standalone node with the simulated Twilio (three rounds of
# 15 s): as promised when by the p99 one is there 50 ms behind its 202. Then the router's FCM carrier beside h2load, the same
# requests to the same simulator, five rounds in turns: as promised when one core's CPU is enough for 20,000 letters a second.
# Everything is on the one machine, load and simulators, too. Needs h2load (nghttp2-client) and openssl. Takes about 3 minutes.
# shellcheck shell=bash

campaign() {
    if [[ -z ${BUILT:-} ]]; then
        cargo build --release --locked --workspace --example push_bench
        cargo test --release --locked --workspace --test providers --no-run
    fi
    note_command cargo test --release --workspace --test providers -- --ignored --nocapture fifty_milliseconds
    cargo test --release --locked --workspace --test providers -- --ignored --nocapture fifty_milliseconds \
        >"$folder/sms.txt" 2>&1 || failures+=("SMS: see sms.txt")
    note_command "$PROGRAMS/examples/push_bench" --letters "$(scaled 50000)"
    "$PROGRAMS/examples/push_bench" --letters "$(scaled 50000)" >"$folder/push.txt" 2>&1 || failures+=("push: see push.txt")
    {
        printf '\n## SMS\n\n```\n%s\n```\n' "$(grep -E '^(round|median)' "$folder/sms.txt")"
        printf '\n## Push\n\n```\n%s\n```\n' "$(cat "$folder/push.txt")"
    } | tee -a "$folder/run.md"
    awk '$1 == "ours" && NF == 4 { found = $4 } END { exit found >= 20000 ? 0 : 1 }' "$folder/push.txt" ||
        failures+=("fewer than 20,000 pushes a second and core")
}
