# 500,000 WebSocket connections on one gateway process from one load tester, held for ten minutes, each notified, then drained.
# Pings every 25 s. Each client is sent one notification, acknowledges it, and the router's ledger is asked whether it read all
# acknowledgements. At the end the gateway gets SIGTERM and everybody must leave inside its window.
# Takes about 15 minutes and 5 GiB.
# shellcheck shell=bash

CROWD=${CROWD:-500000}
HOLD=${HOLD:-10m}
GATEWAY=${GATEWAY:-ping_interval_ms = 25000}
NOTIFY_RATE=${NOTIFY_RATE:-5000}

campaign() {
    local clients hold=$HOLD
    clients=$(scaled "$CROWD")
    if ((SCALE > 1)); then hold=${HOLD_SCALED:-60s}; fi
    router_up
    gateway_up g1 "soft_limit = $((CROWD + 1000))" "hard_limit = $((CROWD + 2000))" "accept_rate = 200000" "drain_s = 60" "$GATEWAY"
    # shellcheck disable=SC2046
    load held hold --url "ws://$gateway_listen" -n "$clients" --rate 25000 --for "$hold" --notify \
        --notify-rate "$NOTIFY_RATE" --settle 2m $(posting) --server-pid "$gateway_pid" --drain-pid "$gateway_pid" --drain-within 3m \
        --expect "established=$clients,failed=0,dropped=0,lost=0,duplicated=0,acks_read=$clients,drain_left=0"
    curl -fsS "http://$router_api/v1/reconcile" -H "Authorization: Bearer $(<"$work/service.key")" >"$folder/reconcile.json"
}
