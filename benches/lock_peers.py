#!/usr/bin/env python3
"""Python filelock and proper-lockfile in the same runs as the lock benches of this project.

    python3 benches/lock_peers.py

installs both into a temporary folder (it needs pip, node and npm), and prints the cost of an uncontended pair and, for eight
processes that hold 2 ms and think 2 ms, sections per second and the wait. Compare with
`cargo bench -p aiswitch-benches --bench lock_uncontended -- --ratios` and `--bench lock_contended -- --tables`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

PROCESSES = 8
SECTIONS = 100
PAIRS = 2000

NODE_WORKER = """
const lockfile = require('proper-lockfile');
const fs = require('fs');
const [path, sections, holdMs, thinkMs] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => Number(process.hrtime.bigint());
(async () => {
  const out = [];
  for (let i = 0; i < sections; i++) {
    const asked = now();
    const release = await lockfile.lock(path, { retries: { retries: 100000, minTimeout: 5, maxTimeout: 50 } });
    const got = now();
    if (holdMs) await sleep(holdMs);
    const released = now();
    await release();
    out.push([asked, got, released]);
    if (thinkMs) await sleep(thinkMs);
  }
  console.log(JSON.stringify(out));
})();
"""


def python_worker(path, sections, hold_ms, think_ms):
    from filelock import FileLock

    lock = FileLock(path + ".filelock")
    out = []
    for _ in range(sections):
        asked = time.monotonic_ns()
        with lock:
            got = time.monotonic_ns()
            if hold_ms:
                time.sleep(hold_ms / 1000)
            released = time.monotonic_ns()
        out.append([asked, got, released])
        if think_ms:
            time.sleep(think_ms / 1000)
    print(json.dumps(out))


def run(command, count, arguments):
    workers = [
        subprocess.Popen(command + [str(a) for a in arguments], stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    sections = []
    for worker in workers:
        text, _ = worker.communicate()
        if worker.returncode != 0:
            sys.exit(f"a worker failed: {command}")
        sections += json.loads(text)
    return sorted(sections, key=lambda section: section[1])


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main():
    with tempfile.TemporaryDirectory() as home:
        site, script, target = (os.path.join(home, name) for name in ("site", "worker.cjs", "target"))
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", site, "filelock"], check=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", home, "proper-lockfile"], check=True)
        os.environ["PYTHONPATH"] = site
        with open(script, "w", encoding="utf-8") as file:
            file.write(NODE_WORKER)
        open(target, "w", encoding="utf-8").close()
        peers = {
            "Python filelock": [sys.executable, os.path.abspath(__file__), "--worker"],
            "proper-lockfile": ["node", script],
        }
        print("| | uncontended pair, µs | 8 processes: sections/s | wait p50 / p99 ms |\n|---|---|---|---|")
        for peer, command in peers.items():
            alone = run(command, 1, [target, PAIRS, 0, 0])
            pair_us = (alone[-1][2] - alone[len(alone) // 10][0]) / (len(alone) * 0.9) / 1000
            sections = SECTIONS if peer == "Python filelock" else SECTIONS // 10
            together = run(command, PROCESSES, [target, sections, 2, 2])
            per_second = len(together) * 1e9 / (together[-1][2] - together[0][1])
            waits = [got - asked for asked, got, _ in together]
            p50, p99 = percentile(waits, 50) / 1e6, percentile(waits, 99) / 1e6
            print(f"| {peer} | {pair_us:.1f} | {per_second:.0f} | {p50:.1f} / {p99:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        path, *numbers = sys.argv[2:]
        python_worker(path, *map(int, numbers))
    else:
        main()
