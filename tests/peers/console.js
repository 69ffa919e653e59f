// Uses the page of `wsp listen --devconsole` in headless Chromium as a person would.
//
// usage: node console.js BROWSER HOME URL [FOLDER]
//
// HOME is the browser's home. The server must echo. Prints one line of JSON with what the page showed; with FOLDER it
// also writes pictures of it there. Exits 1 when the page could not be used.

import { chromium } from "playwright-core";

const [executablePath, home, url, folder] = process.argv.slice(2);
const HOSTILE = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;

const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60_000,
  env: { ...process.env, HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_CACHE_HOME: `${home}/.cache` },
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"],
});

try {
  const tab = await browser.newPage({ viewport: { width: 1180, height: 760 }, colorScheme: "light" });
  tab.setDefaultTimeout(60_000);
  const faults = [];
  tab.on("pageerror", (error) => faults.push(String(error)));
  tab.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  const asked = [];
  tab.on("request", (request) => asked.push(request.url()));
  const picture = async (name) => folder && (await tab.screenshot({ path: `${folder}/${name}.png` }));
  const rows = (selector) => tab.$$eval(`#log li${selector} pre`, (found) => found.map((pre) => pre.textContent));
  const until = (selector, count) => tab.waitForFunction(([selector, count]) => document.querySelectorAll(`#log li${selector}`).length >= count, [selector, count]);
  const text = (id) => tab.textContent(`#${id}`);
  const result = {};

  await tab.goto(url);
  await picture("empty");
  result.url = await tab.inputValue("#url");
  // By keyboard alone.
  await tab.focus("#url");
  await tab.keyboard.press("Enter");
  await tab.waitForSelector('#status[data-state="open"]');
  result.status = await text("status");
  result.focused = await tab.evaluate(() => document.activeElement.id);

  await tab.keyboard.type("hello");
  await tab.keyboard.press("Enter");
  await until(".in", 1);
  await tab.keyboard.type("two");
  await tab.keyboard.press("Shift+Enter");
  await tab.keyboard.type("lines");
  await tab.keyboard.press("Enter");
  await until(".in", 2);
  const json = '{"b":12345678901234567890,"a":["x",null,{}],"url":"ws://h/\\"q\\""}';
  for (const message of [json, HOSTILE]) {
    await tab.fill("#message", message);
    await tab.click("#send");
  }
  await until(".in", 4);
  result.received = await rows(".in");
  result.sent = await rows(".out");
  result.count = await text("count");
  result.tokens = await tab.$$eval("#log li.in:nth-last-child(-n+4) pre span", (spans) => spans.map((span) => [span.className, span.textContent]));
  await tab.keyboard.press("ArrowUp");
  result.recalled = await tab.inputValue("#message");
  await tab.fill("#message", "");
  await tab.click("#pretty");
  result.raw = (await rows(".in"))[2];
  await tab.click("#pretty");
  await picture("light");
  await tab.emulateMedia({ colorScheme: "dark" });
  await picture("dark");
  await tab.setViewportSize({ width: 400, height: 720 });
  await picture("narrow");
  result.overflows = await tab.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  await tab.setViewportSize({ width: 1180, height: 760 });
  await tab.emulateMedia({ colorScheme: "light" });

  await tab.evaluate(() => document.activeElement.blur());
  await tab.keyboard.press("/");
  await tab.keyboard.type("LINES");
  result.filtered = await text("count");
  result.visible = await rows(":not([hidden])");
  result.marked = await tab.$$eval("#log mark", (marks) => marks.map((mark) => mark.textContent));
  await picture("filtered");
  await tab.keyboard.press("Escape");
  result.unfiltered = await text("count");

  await tab.click("#pause");
  await tab.fill("#message", "while paused");
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => document.querySelector("#pause").textContent.includes("2 new"));
  result.paused = [await text("pause"), (await rows(".in")).length];
  await tab.click("#pause");
  await until(".in", 5);
  await tab.click("#clear");
  result.cleared = [await text("count"), (await rows("")).length];

  await tab.evaluate(() => {
    for (let number = 0; number < 700; number += 1) {
      document.querySelector("#message").value = `number ${number}`;
      document.querySelector("#composer").requestSubmit();
    }
  });
  await tab.waitForFunction(() => document.querySelector("#log li:last-child pre").textContent === "number 699" && document.querySelector("#count").textContent.includes("older"));
  await tab.waitForFunction(() => document.querySelector("#count").textContent === "1,000 messages, 400 older left out");
  result.bounded = [await text("count"), (await rows("")).length];
  result.follows = await tab.evaluate(() => { const log = document.querySelector("#log"); return log.scrollHeight - log.scrollTop - log.clientHeight < 40; });
  await tab.evaluate(() => { document.querySelector("#log").scrollTop = 0; });
  await tab.fill("#message", Array.from({ length: 60 }, (_, line) => `line ${line}`).join("\n"));
  await tab.keyboard.press("Enter");
  await tab.waitForSelector("#latest:not([hidden])");
  result.stays = await tab.evaluate(() => document.querySelector("#log").scrollTop < 200);
  await tab.click("#latest");
  result.more = await tab.$$eval("#log li:last-child .more", (found) => found.map((button) => button.textContent));
  await tab.click("#log li:last-child .more");
  result.whole = (await rows(":last-child"))[0].split("\n").length;
  await picture("long");

  result.fixed = await tab.getAttribute("#url", "readonly");
  await tab.click("#connect");
  await tab.waitForSelector('#status[data-state="closed"]');
  result.closed = await text("status");
  await tab.fill("#url", "ws://elsewhere.example/");
  await tab.click("#connect");
  // What is added is drawn with the next frame.
  await tab.waitForFunction(() => [...document.querySelectorAll(".note")].at(-1)?.textContent.includes("cannot connect"));
  result.elsewhere = (await rows(".note:last-child"))[0];
  await picture("failed");
  result.title = await tab.title();
  result.faults = faults;
  result.asked = asked.filter((address) => !address.startsWith("data:"));
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
