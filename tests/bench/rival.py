"""An echo server of somebody else's beside `wsp listen --echo`: what a message costs each of them in CPU time.

The other server is whatever `--against` says: a command that serves any path in clear text and says its port in its
first line of output, as the last number there, such as the echo example of uWebSockets.
"""

import contextlib
import re
import shlex
import statistics

# Bytes, messages in flight on each connection, connections, and the least that wsp is to handle of what the other does
# in the same CPU time.
CASES = (
    (20, 1, 100, 0.95),
    (20, 16, 100, 0.85),
    (1024, 1, 100, 0.95),
    (16 * 1024, 1, 100, 0.8),
    (1024 * 1024, 1, 10, 0.8),
)


def port_of(line):
    return int(re.findall(r"\d+", line)[-1])


def run(options, tools):
    rounds, seconds = (2, 0.5) if options.quick else (5, 1.5)
    server_cpu, load_cpu = (None, None) if options.free else (0, 1)
    tools.say(f"echo against '{options.against}': server CPU us per message, {rounds} interleaved rounds of {seconds} s")
    with contextlib.ExitStack() as stack:
        servers = {
            "wsp": stack.enter_context(tools.wsp_server("--echo", cpu=server_cpu)),
            "other": stack.enter_context(tools.server(shlex.split(options.against), server_cpu, port_of)),
        }
        for size, depth, connections, target in CASES:
            got = {name: [] for name in servers}
            for _ in range(rounds):
                for name, (child, port) in servers.items():
                    got[name].append(tools.load(
                        "echo", load_cpu, port=port, pid=child.pid, connections=connections,
                        size=size, depth=depth, seconds=seconds, warmup=0.3,
                    ))
            tools.say(f"  {size} B, {depth} in flight on {connections} connections:")
            for name, results in got.items():
                us = [each["server_us"] for each in results]
                rate = max(each["rate"] for each in results)
                tools.say(f"    {name:6} best {min(us):.3f}  median {statistics.median(us):.3f} us   {rate:,.0f}/s")
            per_round = [b["server_us"] / a["server_us"] for a, b in zip(got["wsp"], got["other"])]
            best = min(each["server_us"] for each in got["other"]) / min(each["server_us"] for each in got["wsp"])
            what = f"messages per CPU second, wsp / other, best (rounds {min(per_round):.2f}-{max(per_round):.2f})"
            tools.verdict(what, best, target, "x", False)
    tools.say()
