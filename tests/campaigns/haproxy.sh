# A gateway dies behind HAProxy (leastconn): the clients know one address only, the balancer sends them to the two that are left.
# 9,000 clients, as many as HAProxy's file descriptors allow where a process may have 20,000; PROXY protocol 2 to gateways that
# trust it; a 503 of a full node is tried elsewhere before the client sees it. Messages go on meanwhile.
# Takes about 3 minutes. Needs the Debian package haproxy.
# shellcheck shell=bash

CROWD=${CROWD:-9000}

# Writes the balancer's settings. $1: where it listens; then name and address of each gateway.
haproxy_settings() {
    local listen=$1
    shift
    cat <<CFG
global
    # Two file descriptors a connection.
    maxconn 9900
    nbthread 1

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h

frontend clients
    bind $listen
    default_backend gateways

backend gateways
    balance leastconn
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response 503
    option httpchk GET /readyz
    default-server check inter 500ms fall 2 rise 2 maxconn 9000
CFG
    while (($# > 0)); do
        printf '    server %s %s send-proxy-v2 addr 127.0.0.1 port %s\n' "$1" "$2" "${3##*:}"
        shift 3
    done
}

campaign() {
    local servers=() first_pid=0 node
    command -v haproxy >/dev/null || { say "haproxy is not installed (apt-get install haproxy)"; return 1; }
    router_up
    for node in a b c; do
        gateway_up "$node" 'trusted_proxies = ["127.0.0.1"]' "accept_rate = 2000"
        servers+=("$node" "$gateway_listen" "$gateway_admin")
        if ((first_pid == 0)); then first_pid=$gateway_pid; fi
    done
    free_port
    haproxy_settings "127.0.0.1:$port" "${servers[@]}" >"$work/haproxy.cfg"
    cp "$work/haproxy.cfg" "$folder/haproxy.cfg"
    start haproxy haproxy -f "$work/haproxy.cfg"
    for ((try = 0; try < 50; try++)); do
        if curl -fsS -o /dev/null "http://127.0.0.1:$port/healthz" 2>/dev/null; then break; fi
        sleep 0.2
    done
    # shellcheck disable=SC2046
    load haproxy chaos --url "ws://127.0.0.1:$port" -n "$(scaled "$CROWD")" --connect-rate 1500 --rate 100 --for 90s --cut-at 15s \
        --kill-pid "$first_pid" --settle 60s $(posting) --expect "lost=0,back_all_s<=60,survivor_p99_ratio<=2"
}
