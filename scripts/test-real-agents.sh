#!/usr/bin/env bash
# Runs the tests that drive the real agent CLIs against a mock of their providers, in a network namespace that holds
# nothing but loopback, so that no CLI can call out.
#
#   scripts/test-real-agents.sh [FOLDER] [-- ARG...]     FOLDER: where install-agents.sh puts the CLIs; ARG: for the tests
#
# Exit code 77: skipped, with the reason on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: the tests with real agents: $1" >&2
    exit 77
}

folder=()
if [ $# -gt 0 ] && [ "$1" != "--" ]; then
    folder=("$1")
    shift
fi
[ $# -gt 0 ] && shift

[ "$(uname -s)" = Linux ] || skip "they need network namespaces, which only Linux has"
command -v ip >/dev/null || skip "install iproute2, which has the command ip"
unshare --net true 2>/dev/null || skip "this user may not make a network namespace; try it as root"
bin=$(scripts/install-agents.sh "${folder[@]}") || {
    code=$?
    [ "$code" -eq 127 ] && skip "npm is missing (see above)"
    exit "$code"
}

cargo test --locked -p aiswitch-cli --test it --no-run
AISWITCH_TEST_AGENTS=$bin exec unshare --net -- sh -c 'ip link set lo up && exec "$@"' sh \
    cargo test --locked --offline -p aiswitch-cli --test it real_agents -- --nocapture "$@"
