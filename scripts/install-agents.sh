#!/usr/bin/env bash
# Installs the agent CLIs that the tests of aiswitch drive, at the versions pinned in agents/package.json.
#
#   scripts/install-agents.sh [FOLDER]      (default: ${XDG_CACHE_HOME:-$HOME/.cache}/aiswitch/agents)
#
# Prints the folder with the programs on stdout and everything else on stderr. A second run is instant.
# Exit codes: 0 installed and able to start, 1 failed, 2 usage, 127 npm or node is missing.
set -euo pipefail

node_major_min=22
node_pin=22.23.3

say() { printf '%s\n' "$*" >&2; }

if [ $# -gt 1 ] || [[ ${1:-} == -* ]]; then
    say "usage: $0 [FOLDER]"
    exit 2
fi
for tool in node npm; do
    if ! command -v "$tool" >/dev/null; then
        say "error: \`$tool\` is not installed; the agent CLIs come from npm"
        say "hint: install Node.js 20 or later (https://nodejs.org) and run this script again"
        exit 127
    fi
done

manifest="$(cd "$(dirname "$0")" && pwd)/agents/package.json"
folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/aiswitch/agents}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
bin="$folder/node_modules/.bin"

# Two runs at once would write the same files; the lock goes with this process.
if command -v flock >/dev/null; then
    exec 9>"$folder/install.lock"
    flock 9
fi

# The stamp is written last, so what it names has been seen to start.
if cmp -s "$manifest" "$folder/installed.json" && [ -x "$bin/claude" ]; then
    printf '%s\n' "$bin"
    exit 0
fi

packages=()
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt "$node_major_min" ]; then
    say "node is older than $node_major_min, which Qwen Code needs: node $node_pin is installed beside the agents"
    packages=("node@$node_pin")
fi
say "installing the agent CLIs into $folder (about 1.6 GB)"
rm -f "$folder/installed.json"
cp "$manifest" "$folder/package.json"
# At a lower level npm warns of its own node, on which none of them has to run.
(cd "$folder" && npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    ${packages[@]+"${packages[@]}"} >&2)

# npm may skip the install scripts that link the native programs, and still report success.
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
verify() {
    local name=$1 package=$2 wanted printed
    wanted="$(node -p 'require(process.argv[1]).dependencies[process.argv[2]]' "$manifest" "$package")"
    if ! printed="$(HOME="$scratch" PATH="$bin:$PATH" "$bin/$name" --version </dev/null 2>"$scratch/stderr")" ||
        [[ $printed != *"$wanted"* ]]; then
        say "error: \`$name --version\` does not print $wanted but \`${printed:-nothing}\`"
        cat "$scratch/stderr" >&2
        say "hint: remove $folder and run this script again; npm must be allowed to run install scripts"
        exit 1
    fi
    say "  $name $wanted"
}
verify claude @anthropic-ai/claude-code
verify codex @openai/codex
verify gemini @google/gemini-cli
verify qwen @qwen-code/qwen-code
verify opencode opencode-ai

cp "$manifest" "$folder/installed.json"
printf '%s\n' "$bin"
