# Fan-out over numbers of sockets and sizes: the gateway's CPU time a message beside the bare ring loop on the same machine.
# The bench prints F = bare loop ÷ ring for each size; the load tester then sends through router and gateway and measures the
# whole machine's busy time a copy without its own. Interleaved; FANOUT_REPEATS rounds (5), medians are for the reader.
# Takes about 40 minutes.
# shellcheck shell=bash

readonly SOCKETS=(1000 10000 100000)
readonly SIZES=(64 1024 16384)

campaign() {
    local sockets size round rate
    if [[ -z ${BUILT:-} ]]; then cargo build --release --locked -p gateway-ring --example fanout; fi
    router_up
    gateway_up g1 "accept_rate = 200000"
    for ((round = 1; round <= ${FANOUT_REPEATS:-5}; round++)); do
        for sockets in "${SOCKETS[@]}"; do
            sockets=$(scaled "$sockets")
            for size in "${SIZES[@]}"; do
                # About 20,000 copies a second, 2,000 of the large ones.
                rate=$(awk "BEGIN { print ($size > 4096 ? 2000 : 20000) / $sockets }")
                note_command "$PROGRAMS/examples/fanout" ratio "$sockets" "$size"
                "$PROGRAMS/examples/fanout" ratio "$sockets" "$size" 2>&1 | sed "s/^/$round $sockets $size  /" | tee -a "$folder/bench.txt"
                # shellcheck disable=SC2046
                load "fanout-$sockets-$size-$round" fanout --url "ws://$gateway_listen" -n "$sockets" --connect-rate 15000 \
                    --rate "$rate" --for 20s --size "$size" --server-pid "$gateway_pid" $(posting) --expect 'lost=0,duplicated=0'
            done
        done
    done
}
