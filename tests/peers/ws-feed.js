// A client of `wsp listen --protocol feed`, made with npm `ws`.
//
// usage: node ws-feed.js URL FILTERS|none COUNT
//
// Answers the welcome by registering with FILTERS (JSON), in the shape that the welcome shows, unless that is `none`; sends
// lines of stdin as they come; leaves with 1000 after COUNT events. Prints a line of JSON for each message as it comes,
// {"control": …} or {"event": …}, and at the end {"close": CODE, "reason": …}.

import { createInterface } from "node:readline";
import WebSocket from "ws";

const [url, filters, count] = process.argv.slice(2);
const print = (line) => console.log(JSON.stringify(line));
const CONTROL = ["welcome", "registered", "error", "pong"];

const socket = new WebSocket(url, { perMessageDeflate: false });
let events = 0;
socket.on("message", (data) => {
  const message = JSON.parse(data);
  if (!CONTROL.includes(message.type)) {
    events += 1;
    print({ event: message });
    if (events === Number(count)) socket.close(1000, "enough");
    return;
  }
  print({ control: message });
  if (message.type === "welcome" && filters !== "none") {
    const register = message.format;
    Object.assign(register.filters, JSON.parse(filters));
    socket.send(JSON.stringify(register));
  }
});
socket.on("error", (error) => {
  print({ error: error.message });
  process.exit(1);
});
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => socket.send(line));
socket.on("close", (code, reason) => {
  print({ close: code, reason: reason.toString() });
  process.exit(0);
});
