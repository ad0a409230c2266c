#!/usr/bin/env bash
# Runs every fuzz target of the project for a short time, from the kept corpus, with libFuzzer on the stable toolchain.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]      (default: 10 s for each target)
#
# The targets are CRATE/fuzz/fuzz_targets/*.rs; what is found new goes to a folder that is removed, what fails is kept and named.
# Longer runs and sanitizers: cargo +nightly fuzz run --fuzz-dir CRATE/fuzz TARGET
# Exit codes: 0 nothing found, 1 a target failed, 77 there is no C++ compiler for libFuzzer.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
shift || true
if ! command -v c++ >/dev/null; then
    echo "skipped: libFuzzer needs a C++ compiler, such as Debian's g++"
    exit 77
fi
root=$(pwd)
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz asks of the compiler, but for sanitizers, which need its nightly version.
flags="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Copt-level=3 -Cpasses=sancov-module"
flags+=" -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failed=0
for manifest in */fuzz/Cargo.toml; do
    folder=${manifest%/Cargo.toml}
    out=${CARGO_TARGET_DIR:-$root/target}/fuzz
    RUSTFLAGS=$flags cargo build --quiet --manifest-path "$manifest" --target "$host" --target-dir "$out" --release || exit 1
    for source in "$folder"/fuzz_targets/*.rs; do
        target=$(basename "$source" .rs)
        [ $# -eq 0 ] || [[ " $* " == *" $target "* ]] || continue
        mkdir -p "$work/$target" "$folder/artifacts/$target"
        if "$out/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
            -artifact_prefix="$folder/artifacts/$target/" "$work/$target" "$folder/corpus/$target" >"$work/log" 2>&1; then
            runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
            echo "fuzzed: $folder $target: $runs inputs in $seconds s, $(find "$folder/corpus/$target" -type f | wc -l) kept, nothing found"
        else
            tail -40 "$work/log"
            echo "FAILED: $folder $target; the input is in $folder/artifacts/$target"
            failed=1
        fi
    done
    find "$folder/artifacts" -type d -empty -delete 2>/dev/null
done
exit $failed
