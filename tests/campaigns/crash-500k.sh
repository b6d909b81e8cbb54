# The same as `crash` with 500,000 connections on the node that is killed.
# Takes about 12 minutes and 8 GiB.
# shellcheck shell=bash

CROWD=500000
# shellcheck source=tests/campaigns/crash.sh
source tests/campaigns/crash.sh
