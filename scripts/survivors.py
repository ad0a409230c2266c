#!/usr/bin/env python3
"""Counts what supervisors leave of a hostile tree of processes, and prints the table of aiswitch-agent/README.md.

    scripts/survivors.py [--rounds N] [AISWITCH]

AISWITCH is the program to measure (default: target/release/aiswitch). Debian's supervisor, s6 and runit are unpacked, and npm's
pm2 is installed, into ${XDG_CACHE_HOME:-~/.cache}/aiswitch/supervisors; nothing on the system changes. One that cannot be
had is a row that says so. Each supervisor starts aiswitch-agent/tests/fixtures/hostile.sh in a folder of its own; once with
the supervisor's own stop command, once with SIGKILL to the supervisor. What is alive in that folder afterwards is counted,
then killed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
HOSTILE = PROJECT / "aiswitch-agent/tests/fixtures/hostile.sh"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiswitch/supervisors"

START_S_MAX = 30  # how long a supervisor may take until the whole tree is there
STOP_S_MAX = 20  # how long its stop command may take
SETTLE_S = 2.0  # how long what was told to die may take to go, before it counts as left
LOOKS = 40  # how often the tree is counted at the end
GRACE_S = 2  # how long each peer is told to wait between SIGTERM and SIGKILL; aiswitch keeps its own 5 s


def alive(folder):
    """The tree's processes: pid -> command line, of all whose working folder is `folder`; its `sleep`s do not count."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "cwd") != str(folder):
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if command and not command.startswith("sleep"):
            found[int(entry.name)] = command
    return found


def end(folder):
    """Kills all that is left in the folder; a comet is caught by killing until a look finds nothing three times."""
    quiet = 0
    while quiet < 3:
        left = [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and cwd(e) == str(folder)]
        quiet = 0 if left else quiet + 1
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def cwd(entry):
    try:
        return os.readlink(entry / "cwd")
    except OSError:
        return None


class Supervisor:
    """One supervisor in one round: how it is started on a folder, which process it is, how it is told to stop."""

    name = ""

    def __init__(self, work, tree):
        self.work, self.tree = work, tree
        self.command = f"cd {tree} && exec sh {HOSTILE}"
        self.process = None

    def spawn(self, argv, **options):
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True, **options)

    def pid(self):
        return self.process.pid

    def control(self, argv, **options):
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=STOP_S_MAX, check=False, **options)

    def close(self):
        """Ends the supervisor itself, whatever state it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Aiswitch(Supervisor):
    name = "aiswitch (guard)"
    program = None

    def start(self):
        config = self.work / "home/config"
        config.mkdir(parents=True, mode=0o700)
        (self.work / "home").chmod(0o700)
        agents = config / "agents.yaml"
        agents.write_text(f'agents:\n  hostile: {{driver: command, command: [sh, "{HOSTILE}"]}}\n')
        agents.chmod(0o600)
        self.spawn([self.program, "--home", self.work / "home", "run", "-a", "hostile", "--mode", "write", "-C", self.tree, "stay"])

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_S_MAX)


class ProcessGroup(Supervisor):
    name = "process group (`killpg`)"

    def start(self):
        self.spawn([sys.executable, __file__, "--group", self.command])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S_MAX)


class Supervisord(Supervisor):
    name = "supervisord (`stopasgroup`, `killasgroup`)"
    packages = ["supervisor"]

    def start(self):
        config = self.work / "supervisord.conf"
        config.write_text(f"""[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={self.work}/pid
[unix_http_server]
file={self.work}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{self.work}/socket
[program:tree]
command=sh {HOSTILE}
directory={self.tree}
stopasgroup=true
killasgroup=true
stopwaitsecs={GRACE_S}
""")
        self.environment = dict(os.environ, PYTHONPATH=str(CACHE / "root/usr/lib/python3/dist-packages"))
        self.spawn(["/usr/bin/python3", "-m", "supervisor.supervisord", "-c", config], env=self.environment)

    def stop(self):
        self.control(["/usr/bin/python3", "-m", "supervisor.supervisorctl", "-c", self.work / "supervisord.conf", "stop", "tree"],
                     env=self.environment)


class Runit(Supervisor):
    name = "runit (`sv force-stop`)"
    packages = ["runit"]

    def start(self):
        self.service(self.work / "service")
        self.spawn([CACHE / "root/usr/bin/runsv", self.work / "service"])

    def service(self, folder):
        folder.mkdir()
        run = folder / "run"
        run.write_text(f"#!/bin/sh\n{self.command}\n")
        run.chmod(0o755)

    def stop(self):
        self.control([CACHE / "root/usr/bin/sv", "-w", str(GRACE_S), "force-stop", self.work / "service"])


class S6(Runit):
    name = "s6 (`s6-svc -d`, `timeout-kill`)"
    packages = ["s6", "execline", "libs6-2.11", "libskarnet2.13", "libexecline2.9", "libs6", "libskarnet", "libexecline"]

    def start(self):
        self.service(self.work / "service")
        (self.work / "service/timeout-kill").write_text(f"{GRACE_S * 1000}\n")
        libraries = [CACHE / "root/usr/lib/x86_64-linux-gnu", CACHE / "root/lib/x86_64-linux-gnu"]
        self.environment = dict(os.environ, LD_LIBRARY_PATH=":".join(map(str, libraries)),
                                PATH=f"{CACHE}/root/usr/bin:{CACHE}/root/bin:{os.environ['PATH']}")
        self.spawn([CACHE / "root/usr/bin/s6-supervise", self.work / "service"], env=self.environment)

    def stop(self):
        self.control([CACHE / "root/usr/bin/s6-svc", "-wD", "-T", str(GRACE_S * 2000), "-d", self.work / "service"],
                     env=self.environment)


class Pm2(Supervisor):
    name = "pm2 (`pm2 stop`, treekill)"

    def start(self):
        self.program = CACHE / "node_modules/.bin/pm2"
        self.environment = dict(os.environ, PM2_HOME=str(self.work / "pm2"))
        self.control([self.program, "start", HOSTILE, "--name", "tree", "--interpreter", "sh", "--cwd", self.tree,
                      "--kill-timeout", str(GRACE_S * 1000)], env=self.environment)

    def pid(self):
        return int((self.work / "pm2/pm2.pid").read_text())

    def stop(self):
        self.control([self.program, "stop", "tree"], env=self.environment)

    def close(self):
        self.control([self.program, "kill"], env=self.environment)


def install():
    """Unpacks and installs the supervisors; returns what could not be had: class -> reason."""
    CACHE.mkdir(parents=True, exist_ok=True)
    missing = {}
    for supervisor, program in ((Supervisord, "usr/bin/supervisord"), (Runit, "usr/bin/runsv"), (S6, "usr/bin/s6-supervise")):
        if not (CACHE / "root" / program).exists():
            unpack(supervisor.packages)
        if not (CACHE / "root" / program).exists():
            missing[supervisor] = f"Debian's {supervisor.packages[0]} cannot be had here"
    if not (CACHE / "node_modules/.bin/pm2").exists():
        npm = shutil.which("npm")
        if npm:
            subprocess.run([npm, "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", CACHE, "pm2"],
                           stdout=sys.stderr, check=False)
        if not (CACHE / "node_modules/.bin/pm2").exists():
            missing[Pm2] = "npm's pm2 cannot be had here"
    return missing


def unpack(packages):
    with tempfile.TemporaryDirectory() as folder:
        for package in packages:
            subprocess.run(["apt-get", "download", package], cwd=folder, stdout=sys.stderr, stderr=subprocess.DEVNULL, check=False)
        for archive in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, CACHE / "root"], stdout=sys.stderr, check=True)


def group(command):
    """The plain process group: starts, and on SIGTERM sends SIGTERM, waits, and sends SIGKILL to the group."""
    child = subprocess.Popen(["sh", "-c", command], process_group=0)

    def stop(_signal, _frame):
        os.killpg(child.pid, signal.SIGTERM)
        time.sleep(GRACE_S)
        os.killpg(child.pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    child.wait()


def wait_until(condition, seconds, what):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.005)


def measure(supervisor_class, killed):
    """One round: (processes there before, left afterwards, seconds until none was left or None)."""
    with tempfile.TemporaryDirectory(prefix="survivors-") as scratch:
        scratch = Path(scratch).resolve()
        work, tree = scratch / "work", scratch / "tree"
        work.mkdir()
        tree.mkdir()
        supervisor = supervisor_class(work, tree)
        try:
            supervisor.start()
            wait_until((tree / "ready").exists, START_S_MAX, f"{supervisor.name} did not start the tree")
            before = len(alive(tree))
            start = time.monotonic()
            if killed:
                os.kill(supervisor.pid(), signal.SIGKILL)
            else:
                supervisor.stop()
            gone = None
            while gone is None and time.monotonic() < start + STOP_S_MAX + SETTLE_S:
                if not alive(tree):
                    gone = time.monotonic() - start
                elif killed and time.monotonic() > start + SETTLE_S:
                    break
                elif not killed and time.monotonic() > start + GRACE_S + 2 * SETTLE_S:
                    break
                time.sleep(0.005)
            # A comet is between two lives at most looks: the largest of many is what is left.
            left = 0 if gone is not None else max(len(alive(tree)) for _ in range(LOOKS))
            return before, left, gone
        finally:
            supervisor.close()
            end(tree)


def row(supervisor, rounds):
    cells = []
    for killed in (False, True):
        results = [measure(supervisor, killed) for _ in range(rounds)]
        left = sorted({result[1] for result in results})
        times = sorted(result[2] for result in results if result[2] is not None)
        text = f"**{left[0]}**" if left == [0] else " to ".join(str(n) for n in (left if len(left) == 1 else (left[0], left[-1])))
        cells.append(f"{text} ({times[len(times) // 2]:.2f} s)" if left == [0] else text)
    return f"| {supervisor.name} | {cells[0]} | {cells[1]} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default=PROJECT / "target/release/aiswitch", type=Path, metavar="AISWITCH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--group", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.group:
        return group(arguments.group)
    if not arguments.program.exists():
        sys.exit(f"error: {arguments.program} is not there\nhint: cargo build --release -p aiswitch-cli")
    Aiswitch.program = arguments.program.resolve()
    missing = install()
    print(f"Processes left of 5 ({arguments.rounds} rounds; in brackets the median time until none was left):\n")
    print("| supervisor | after its own stop | after SIGKILL of the supervisor |\n|---|---|---|")
    for supervisor in (Aiswitch, ProcessGroup, Supervisord, S6, Runit, Pm2):
        print(f"| {supervisor.name} | skipped: {missing[supervisor]} | |" if supervisor in missing else row(supervisor, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
