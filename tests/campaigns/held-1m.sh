# A million WebSocket connections on one gateway process, limits raised, held for five minutes with lighter traffic, then drained.
# Pings every two minutes; otherwise as `held`. Both ends are on one machine.
# Takes about 15 minutes and 10 GiB.
# shellcheck shell=bash

CROWD=1000000
HOLD=${HOLD:-5m}
GATEWAY=$'ping_interval_ms = 120000\n\n[gateway.limits]\nidle_s = 360'
NOTIFY_RATE=4000
# shellcheck source=tests/campaigns/held.sh
source tests/campaigns/held.sh
