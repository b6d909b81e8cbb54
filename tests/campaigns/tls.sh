# TLS measured and examined: handshakes a core beside openssl s_server, bytes of an idle wss connection, testssl.sh.
# Handshakes: CPU of the server for each (user and system; accept, TLS and close), full and resumed, with P-256 and RSA-2048
# certificates; openssl s_time on core 1 drives gateway and s_server on core 0 in turn, TLS_REPEATS rounds (5) of TLS_SECONDS (5).
# Idle: resident bytes of a gateway process for each further WebSocket, ws and wss. testssl.sh fails the run when anything older
# than TLS 1.2 is offered. Needs openssl and testssl.sh (apt). Takes about 10 minutes.
# shellcheck shell=bash

readonly WAYS=("TLS 1.3 full:-new -tls1_3" "TLS 1.2 full:-new -tls1_2" "TLS 1.2 resumed:-reuse -tls1_2")

campaign() {
    local program
    program=$(command -v testssl || command -v testssl.sh) || {
        say "testssl.sh is not installed: apt-get install testssl.sh"
        return 1
    }
    mint p256 ec -pkeyopt ec_paramgen_curve:P-256
    mint rsa2048 rsa:2048
    router_up
    handshakes
    idle
    examine "$program"
}

mint() { # NAME NEWKEY…
    local name=$1
    shift
    openssl req -x509 -nodes -days 30 -subj /CN=localhost -newkey "$@" \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$work/$name.key" -out "$work/$name.pem" 2>/dev/null
}

# tls_up NAME CERTIFICATE: a gateway of one shard, on core 0. Sets tls_listen beside what gateway_up sets.
tls_up() {
    free_port && tls_listen=127.0.0.1:$port
    gateway_up "$1" "shards = 1" "accept_rate = 10000000" "[gateway.tls]" "listen = \"$tls_listen\"" \
        "cert = \"$work/$2.pem\"" "key = \"$work/$2.key\""
}

# CPU time of a process so far, in clock ticks.
ticks() {
    awk '{ print $14 + $15 }' "/proc/$1/stat"
}

# CPU µs a handshake of process $1, which listens at $2; the rest goes to s_time.
cost() {
    local pid=$1 address=$2 before after made
    shift 2
    before=$(ticks "$pid")
    made=$(taskset -c 1 openssl s_time -connect "$address" -time "${TLS_SECONDS:-5}" "$@" 2>/dev/null |
        awk '/connections in .* real seconds/ { print $1; exit }')
    after=$(ticks "$pid")
    awk -v ticks=$((after - before)) -v made="${made:-0}" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { if (made == 0) exit 1; printf "%.1f\n", ticks / hz * 1e6 / made }'
}

handshakes() {
    local certificate way name round ours theirs
    {
        printf '\n## Handshakes\n\nCPU µs of the server for one (and how many a core makes a second); medians.\n\n'
        printf '| certificate | handshake | gateway | openssl s_server | s_server ÷ gateway |\n|---|---|---|---|---|\n'
    } >>"$folder/handshakes.md"
    for certificate in p256 rsa2048; do
        for way in "${WAYS[@]}"; do
            name=$certificate-$(echo "${way%%:*}" | tr -d ' .')
            for ((round = 1; round <= ${TLS_REPEATS:-5}; round++)); do
                tls_up "$name-$round" "$certificate"
                # shellcheck disable=SC2086
                cost "$gateway_pid" "$tls_listen" ${way#*:} >>"$folder/$name-gateway.txt"
                down
                free_port
                start "$name-$round-s_server" taskset -c 0 openssl s_server -accept "127.0.0.1:$port" \
                    -cert "$work/$certificate.pem" -key "$work/$certificate.key" -www
                sleep 0.5
                # shellcheck disable=SC2086
                cost "$pid" "127.0.0.1:$port" ${way#*:} >>"$folder/$name-s_server.txt"
                down
            done
            ours=$(median <"$folder/$name-gateway.txt")
            theirs=$(median <"$folder/$name-s_server.txt")
            awk -v c="$certificate" -v w="${way%%:*}" -v o="$ours" -v t="$theirs" 'BEGIN {
                printf "| %s | %s | %s (%d) | %s (%d) | %.2f |\n", c, w, o, 1e6 / o, t, 1e6 / t, t / o }' |
                tee -a "$folder/handshakes.md"
        done
    done
    cat "$folder/handshakes.md" >>"$folder/run.md"
}

# Resident bytes of a fresh gateway with $2 clients of kind $1.
resident() {
    local url
    tls_up "idle-$1-$2" p256
    url=ws://$gateway_listen
    if [[ $1 == wss ]]; then url=wss://$tls_listen; fi
    load "idle-$1-$2" hold --url "$url" -n "$2" --rate 1000 --for 3s --insecure --server-pid "$gateway_pid" \
        --expect failed=0 >&2
    down
    # The server's own figure; the series of the same name is a list.
    awk -F'[:,]' '/"rss_bytes": [0-9]/ { print $2 + 0; exit }' "$folder/idle-$1-$2.json"
}

idle() {
    local kind few many from to
    from=$(scaled 4000)
    to=$(scaled 20000)
    printf '\n## Idle\n\nResident bytes of the gateway for each further connection, %s to %s.\n\n' "$from" "$to" >>"$folder/run.md"
    printf '| connection | bytes |\n|---|---|\n' >>"$folder/run.md"
    for kind in ws wss; do
        few=$(resident "$kind" "$from")
        many=$(resident "$kind" "$to")
        printf '| %s | %s |\n' "$kind" $(((many - few) / (to - from))) | tee -a "$folder/run.md"
    done
}

examine() {
    local old
    tls_up testssl p256
    note_command "$1" --quiet --color 0 --warnings off "$tls_listen"
    "$1" --quiet --color 0 --warnings off "$tls_listen" >"$folder/testssl.txt" 2>&1 || true
    down
    {
        printf '\n## testssl.sh\n\nIts words on versions and on known holes; the rest is in testssl.txt.\n\n```\n'
        grep -E '^ (SSLv2|SSLv3|TLS 1(\.[123])?) ' "$folder/testssl.txt"
        grep -E '\(CVE-|VULNERABLE' "$folder/testssl.txt"
        printf '```\n'
    } | tee -a "$folder/run.md"
    old=$(grep -cE '^ (SSLv2|SSLv3|TLS 1|TLS 1\.1) .*not offered' "$folder/testssl.txt")
    if ((old != 4)); then failures+=("testssl: something old is offered, or it did not look"); fi
}
