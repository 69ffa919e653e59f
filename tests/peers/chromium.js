// A page in headless Chromium that talks to `wsp listen`.
//
// usage: node chromium.js BROWSER HOME URL MESSAGE...
//
// Serves an empty page on loopback, opens it in BROWSER with HOME as its home (whose NSS database holds the
// certificates it trusts), and there opens a WebSocket to URL, sends each MESSAGE as text and the same bytes as binary
// and waits for what comes back. Prints one line of JSON; exits 1 when the page could not do it.

import { inPage } from "./browser.js";

const [executablePath, home, url, ...messages] = process.argv.slice(2);

// Runs inside the page.
const talk = ({ url, messages }) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const result = { replies: [], extensions: "", opened: false };
    const due = messages.flatMap((text) => [text, new TextEncoder().encode(text)]);
    const step = () => {
      const next = due[result.replies.length];
      if (next === undefined) socket.close(1000, "bye");
      else socket.send(next);
    };
    socket.onopen = () => {
      result.opened = true;
      result.extensions = socket.extensions;
      step();
    };
    socket.onmessage = ({ data }) => {
      const binary = typeof data !== "string";
      result.replies.push({ binary, text: binary ? new TextDecoder().decode(data) : data });
      step();
    };
    socket.onclose = ({ code, wasClean }) => resolve({ ...result, code, wasClean });
  });

await inPage(executablePath, home, async (tab, origin) => {
  const result = await tab.evaluate(talk, { url, messages });
  console.log(JSON.stringify({ ...result, origin }));
  process.exitCode = result.opened ? 0 : 1;
});
