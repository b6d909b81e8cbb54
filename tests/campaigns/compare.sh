#!/usr/bin/env bash
# Side by side with what people use today: 1,000 and 10,000 sockets, five rounds in turns, every server alone on core 0 and the
# load tester on core 1. Keeps the report under loadtest/results and puts the tables into README.md. About eleven minutes on two
# cores that do nothing else; what is not built yet is built first (loadtest/peers/run build).
#
#   tests/campaigns/compare.sh [FLAGS of loadtest compare]     as --rounds 1 -n 500 for a try
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

loadtest/peers/run build
folder=loadtest/results/$(date -u +%F)-compare
mkdir -p "$folder"
status=0
loadtest/peers/run compare -n 1000,10000 --rounds 5 --json "$folder/report.json" --report "$folder/report.html" --markdown "$folder/table.md" \
    --markdown "${COMPARE_README:-README.md}" "$@" | tee "$folder/page.txt" || status=$?
{
    echo "# Side by side, $(date -u +%F)"
    echo
    echo "- commit: $(git rev-parse HEAD)$([[ -z $(git status --porcelain --untracked-files=no -- ':!README.md' ':!loadtest/results') ]] || echo ', with changes')"
    echo "- machine: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc --all) cores, $(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo) GiB, Linux $(uname -r)"
    echo "- limits: ulimit -n $(ulimit -Hn), ulimit -l $(ulimit -Hl)"
    echo "- command: \`tests/campaigns/compare.sh $*\` (the servers' settings: \`loadtest/peers/run\`)"
    echo "- load averages when it ended: $(cut -d " " -f 1-3 /proc/loadavg)"
} >"$folder/run.md"
exit "$status"
