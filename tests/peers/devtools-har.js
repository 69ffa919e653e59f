// HAR by way of Chromium's own DevTools.
//
// usage: node devtools-har.js BROWSER HOME import FILE
//        node devtools-har.js BROWSER HOME export URL MESSAGE...
//
// BROWSER serves its DevTools front end on its debugging port; a tab shows it, attached to an empty page. `import` takes
// FILE through the function behind "Import HAR file" of the Network panel and prints one line of JSON: for each request
// its URL, status, type and the frames its Messages view shows, and the names as the panel draws them. `export` lets the
// page send each MESSAGE to URL, as text and as binary, and prints the HAR that "Export HAR" makes of it.

import { spawn } from "node:child_process";
import { readFileSync, watch } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, home, mode, subject, ...messages] = process.argv.slice(2);

const profile = await mkdtemp(join(home, "profile-"));
const portFile = join(profile, "DevToolsActivePort");
let watcher;
const portWritten = new Promise((resolve) => {
  const look = () => {
    try {
      const [port, path] = readFileSync(portFile, "utf8").split("\n");
      if (path) resolve(Number(port));
    } catch {
      // Not yet.
    }
  };
  watcher = watch(profile, look);
});
const child = spawn(
  executablePath,
  [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    `--user-data-dir=${profile}`,
    "about:blank",
  ],
  { stdio: "ignore", env: { ...process.env, HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_CACHE_HOME: `${home}/.cache` } },
);
const ended = new Promise((resolve) => child.once("exit", resolve));

// Runs in DevTools.
const importHar = async (text) => {
  const network = await import("./panels/network/network.js");
  const logs = await import("./models/logs/logs.js");
  const ui = await import("./ui/legacy/legacy.js");
  await ui.ViewManager.ViewManager.instance().showView("network");
  const panel = network.NetworkPanel.NetworkPanel.instance();
  await panel.networkLogView.onLoadFromFile(new File([text], "recording.har"));
  return logs.NetworkLog.NetworkLog.instance()
    .requests()
    .filter((request) => request.isImportedHar())
    .map((request) => ({
      url: request.url(),
      status: request.statusCode,
      type: request.resourceType().name(),
      frames: request.frames().map(({ type, time, opCode, text }) => ({ type, time, opCode, text })),
    }));
};

// Runs in the page.
const talk = ({ url, messages }) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const due = messages.flatMap((text) => [text, new TextEncoder().encode(text)]);
    let replies = 0;
    const step = () => (due[replies] === undefined ? socket.close(1000, "bye") : socket.send(due[replies]));
    socket.onopen = step;
    socket.onmessage = () => {
      replies += 1;
      step();
    };
    socket.onclose = resolve;
  });

// Runs in DevTools, until it has seen `count` frames.
const exportHar = async (count) => {
  const har = await import("./models/har/har.js");
  const logs = await import("./models/logs/logs.js");
  const sockets = () => logs.NetworkLog.NetworkLog.instance().requests().filter((request) => request.frames().length);
  for (;;) {
    const requests = sockets();
    if (requests.length && requests[0].frames().length >= count && requests[0].finished) {
      return { log: await har.Log.Log.build(requests, { sanitize: false }) };
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const importFile = async (devtools) => {
  const requests = await devtools.evaluate(importHar, readFileSync(subject, "utf8"));
  const cells = devtools.locator(".network-log-grid td.name-column");
  await cells.first().waitFor();
  const drawn = await cells.allInnerTexts();
  return { requests, drawn: drawn.map((name) => name.trim()).filter(Boolean) };
};

const exportTalk = async (devtools, page) => {
  await devtools.evaluate(async () => {
    const ui = await import("./ui/legacy/legacy.js");
    await ui.ViewManager.ViewManager.instance().showView("network");
  });
  await page.evaluate(talk, { url: subject, messages });
  return devtools.evaluate(exportHar, 4 * messages.length);
};

try {
  const port = await Promise.race([portWritten, ended.then(() => Promise.reject(new Error("the browser ended")))]);
  const base = `http://127.0.0.1:${port}`;
  const browser = await chromium.connectOverCDP(base);
  const [context] = browser.contexts();
  const [page] = context.pages();
  const targets = await (await fetch(`${base}/json/list`)).json();
  const target = targets.find(({ type }) => type === "page");
  const devtools = await context.newPage();
  await devtools.goto(`${base}/devtools/devtools_app.html?ws=127.0.0.1:${port}/devtools/page/${target.id}`);
  await devtools.locator(".tabbed-pane-header-tab").first().waitFor();
  const result = mode === "import" ? await importFile(devtools) : await exportTalk(devtools, page);
  console.log(JSON.stringify(result));
  await browser.close();
} finally {
  watcher.close();
  child.kill();
  await ended;
}
