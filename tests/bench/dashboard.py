"""What the dashboard costs the server it shows, and how soon it answers a key while that server is busy.

Used by tests/bench/run. The dashboard runs on a terminal of its own of 120 x 40; what it writes there is read at once.
"""

import contextlib
import fcntl
import os
import pty
import statistics
import struct
import subprocess
import termios
import threading
import time

SIZE = (40, 120)
# Stands on the screen when the keys are shown, and only then.
HELP = b"leads"


class Terminal:
    """A program on a pseudo terminal, and all it has written."""

    def __init__(self, command, cpu):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        env = os.environ | {"TERM": "xterm-256color"}
        self.child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True, preexec_fn=cpu
        )
        os.close(slave)
        self.seen = bytearray()
        self.came = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65536):
                with self.came:
                    self.seen += data
                    self.came.notify_all()

    def press(self, key, until=None):
        """Milliseconds from a key to the words that follow it."""
        with self.came:
            start, began = len(self.seen), time.monotonic()
            os.write(self.master, key)
            if until and not self.came.wait_for(lambda: until in self.seen[start:], 10):
                raise SystemExit(f"{until} did not come: {bytes(self.seen[start:])[-500:]}")
            return (time.monotonic() - began) * 1000


@contextlib.contextmanager
def server(tools, flags, is_shown, cpu):
    """`wsp listen` with its dashboard or without: process, port and terminal."""
    port_file = tools.HOME / "port"
    port_file.unlink(missing_ok=True)
    shown = ["--tui"] if is_shown else ["--quiet"]
    terminal = Terminal(
        [tools.WSP, "listen", "127.0.0.1:0", *flags, *shown, "--port-file", port_file], tools.on_cpu(cpu)
    )
    try:
        deadline = time.monotonic() + 10
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > deadline:
                raise SystemExit("wsp listen did not start")
            time.sleep(0.01)
        yield terminal, int(port_file.read_text())
    finally:
        terminal.child.terminate()
        terminal.child.wait(10)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def full_speed(options, tools):
    rounds, seconds = (5, 0.5) if options.quick else (60, 0.6)
    server_cpu, load_cpu = (None, None) if options.free else (0, 1)
    tools.say(f"dashboard: an echo server at full speed, 200 B on 100 connections, {rounds} interleaved rounds of {seconds} s")
    with contextlib.ExitStack() as stack:
        both = {
            name: stack.enter_context(server(tools, ["--echo"], name == "with", server_cpu)) for name in ("without", "with")
        }
        got = {name: [] for name in both}
        for turn in range(rounds):
            # Each is first as often as the other.
            for name in sorted(both, reverse=turn % 2 == 1):
                terminal, port = both[name]
                got[name].append(tools.load(
                    "echo", load_cpu, port=port, pid=terminal.child.pid, connections=100, size=200, depth=16,
                    seconds=seconds, warmup=0.15,
                ))
        for name, each in got.items():
            rates, us = [one["rate"] for one in each], [one["server_us"] for one in each]
            tools.say(f"  {name:8} median {statistics.median(rates):,.0f}/s, {statistics.median(us):.3f} us CPU; "
                      f"best {max(rates):,.0f}/s, {min(us):.3f} us")
        pairs = list(zip(got["with"], got["without"]))
        fall = statistics.median(100 * (1 - one["rate"] / other["rate"]) for one, other in pairs)
        cost = statistics.median(100 * (one["server_us"] / other["server_us"] - 1) for one, other in pairs)
        tools.say(f"  CPU a message rises by {cost:.1f} %, median of the rounds")
        tools.verdict("throughput falls, median of the rounds", fall, 2, " %", True)
        keys(tools, both["with"], load_cpu)
    tools.say()


def keys(tools, shown, load_cpu):
    """Key to screen while the server does nothing but echo."""
    terminal, port = shown
    busy = threading.Thread(target=tools.load, args=("echo", load_cpu), kwargs={
        "port": port, "pid": terminal.child.pid, "connections": 100, "size": 200, "depth": 16, "seconds": 12, "warmup": 0.3,
    })
    busy.start()
    time.sleep(2)
    took = []
    for _ in range(20):
        took.append(terminal.press(b"?", HELP))
        terminal.press(b"\x1b")
        time.sleep(0.25)
    busy.join()
    tools.say(f"  a key to its answer at full load: median {statistics.median(took):.0f} ms of {len(took)}")
    tools.verdict("slowest answer to a key", max(took), 50, " ms", True)


def many(options, tools):
    sessions, seconds = (200, 3) if options.quick else (1000, 10)
    tools.say(f"dashboard: {sessions} sessions, {5 * sessions} messages a second")
    used = {}
    for name in ("without", "with"):
        with server(tools, ["--push", "5"], name == "with", None) as (terminal, port):
            bench = subprocess.Popen(
                [tools.WSP, "bench", f"ws://127.0.0.1:{port}/", "--mode", "push", "-c", str(sessions),
                 "-d", f"{seconds + 6}s", "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(4)
            began, cpu = time.monotonic(), cpu_seconds(terminal.child.pid)
            written = len(terminal.seen)
            time.sleep(seconds)
            took = time.monotonic() - began
            used[name] = (
                100 * (cpu_seconds(terminal.child.pid) - cpu) / took,
                resident(terminal.child.pid),
                (len(terminal.seen) - written) / took / 1024,
            )
            bench.terminate()
            bench.wait(10)
        tools.say(f"  {name:8} {used[name][0]:.1f} % of a core, {used[name][1]:.1f} MB, {used[name][2]:.1f} KiB a second written")
    tools.verdict("the dashboard takes", used["with"][0] - used["without"][0], 20, " % of a core", True)
    tools.say(f"  and {used['with'][1] - used['without'][1]:.1f} MB")
    tools.say()


def run(options, tools):
    full_speed(options, tools)
    many(options, tools)
