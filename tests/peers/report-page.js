// Opens a report of `wsp bench --html` in headless Chromium, offline, and tells what is to be seen of it.
//
// usage: node report-page.js BROWSER HOME FILE [SCREENSHOT]
//
// Prints one line of JSON: the requests the page made besides itself, errors, how many charts have lines inside their
// frame, and the text of the page.

import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, home, file, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60_000,
  env: { ...process.env, HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_CACHE_HOME: `${home}/.cache` },
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--no-proxy-server"],
});
try {
  const context = await browser.newContext({ offline: true, viewport: { width: 900, height: 1200 } });
  const page = await context.newPage();
  const url = pathToFileURL(file).href;
  const requests = [];
  const errors = [];
  page.on("request", (request) => request.url() !== url && requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(url);
  const seen = await page.evaluate(() => {
    const inside = (path, frame) => {
      const box = path.getBBox();
      const [, , width, height] = frame.getAttribute("viewBox").split(" ").map(Number);
      return box.width > 0 && box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
    };
    const charts = [...document.querySelectorAll("svg")].map((svg) => {
      const paths = [...svg.querySelectorAll("path")];
      return { lines: paths.length, inside: paths.every((path) => inside(path, svg)) };
    });
    return { charts, text: document.body.innerText, wide: document.documentElement.scrollWidth > innerWidth };
  });
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ requests, errors, ...seen }));
} finally {
  await browser.close();
}
