# A gateway dies behind HAProxy with the settings that we ship (tuning/haproxy): the clients know one address only, the balancer
# sends them to the two that are left. 8,900 clients, a little less than HAProxy's shipped maxconn, so that who comes back finds
# room while the old end is still closing; PROXY protocol 2 to gateways that trust it; whom one refuses is tried elsewhere before
# the client sees it. Messages go on meanwhile.
# Takes about 3 minutes. Needs the Debian package haproxy.
# shellcheck shell=bash

CROWD=${CROWD:-8900}
# HAProxy's own end of its connections.
readonly BALANCER=127.0.0.2

campaign() {
    local gateways=() first_pid=0 node
    # Not on everybody's PATH.
    PATH=$PATH:/usr/sbin:/usr/local/sbin
    command -v haproxy >/dev/null || { say "haproxy is not installed (apt-get install haproxy)"; return 1; }
    router_up
    for node in a b c; do
        gateway_up "$node" "trusted_proxies = [\"$BALANCER\"]" "accept_rate = 2000"
        gateways+=("$gateway_listen,${gateway_admin##*:}")
        if ((first_pid == 0)); then first_pid=$gateway_pid; fi
    done
    free_port
    tests/haproxy/settings "127.0.0.1:$port" "$BALANCER" "${gateways[@]}" >"$work/haproxy.cfg"
    cp "$work/haproxy.cfg" "$folder/haproxy.cfg"
    start haproxy haproxy -db -f "$work/haproxy.cfg"
    for ((try = 0; try < 50; try++)); do
        if curl -fsS -o /dev/null "http://127.0.0.1:$port/healthz" 2>/dev/null; then break; fi
        sleep 0.2
    done
    # shellcheck disable=SC2046
    load haproxy chaos --url "ws://127.0.0.1:$port" -n "$(scaled "$CROWD")" --connect-rate 1500 --rate 100 --for 90s --cut-at 15s \
        --kill-pid "$first_pid" --settle 60s $(posting) --expect "lost=0,back_all_s<=60,survivor_p99_ratio<=2"
}
