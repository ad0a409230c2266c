#!/usr/bin/env bash
# Asks the genai-prices packages of PyPI and npm what a thousand answers of three providers cost, and keeps what they say in
# aiswitch-tokens/tests/prices/answers.jsonl, which the tests of aiswitch-tokens compare with its own figures.
# Needs python3, node, npm and the two registries; the tests need none of them.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet genai-prices==0.2.3
npm install --silent --no-audit --no-fund --prefix "$work" @pydantic/genai-prices@0.1.8 >/dev/null
cp scripts/price-answers/npm.cjs "$work/npm.cjs"

mkdir -p aiswitch-tokens/tests/prices
"$work/venv/bin/python" scripts/price-answers/pypi.py >"$work/answers.jsonl"
node "$work/npm.cjs" <"$work/answers.jsonl" >aiswitch-tokens/tests/prices/answers.jsonl
