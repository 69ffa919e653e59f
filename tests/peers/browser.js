// An empty page on loopback in headless Chromium, for scripts that run something in it.
//
// `inPage(executablePath, home, work)` opens it in the browser at that path, with `home` as the home directory, whose NSS
// database holds the certificates it trusts; calls `work(tab, origin)` and closes everything.

import { createServer } from "node:http";
import { chromium } from "playwright-core";

export const inPage = async (executablePath, home, work) => {
  const page = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>wsp</title>");
  });
  await new Promise((ready) => page.listen(0, "127.0.0.1", ready));
  const origin = `http://127.0.0.1:${page.address().port}`;
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    timeout: 60_000,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: `${home}/.config`, XDG_CACHE_HOME: `${home}/.cache` },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-proxy-server",
    ],
  });
  try {
    const tab = await browser.newPage();
    await tab.goto(origin);
    await work(tab, origin);
  } finally {
    await browser.close();
    page.close();
  }
};
