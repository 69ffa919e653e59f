// A client made with npm `ws`, for tests of `wsp listen`.
//
// usage: node ws-client.js URL [OPTIONS] MESSAGE...
//        OPTIONS: JSON for `new WebSocket`, for example {"perMessageDeflate": {"threshold": 0}}
//
// Sends each MESSAGE as text and the same bytes as binary, waits for each to come back unchanged, then closes with
// 1000. A MESSAGE `repeat:N:TEXT` stands for N times TEXT. Prints one line of JSON; exits 1 when anything went wrong.

import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, optionsText, ...messages] = process.argv.slice(2);
const { protocols, caFile, ...options } = JSON.parse(optionsText ?? "{}");
if (caFile) options.ca = readFileSync(caFile);

const expand = (message) => {
  const parts = /^repeat:(\d+):(.*)$/s.exec(message);
  return parts ? parts[2].repeat(Number(parts[1])) : message;
};
const due = messages.map(expand).flatMap((text) => [
  { data: Buffer.from(text), binary: false },
  { data: Buffer.from(text), binary: true },
]);
const fail = (why) => {
  console.log(JSON.stringify({ error: String(why) }));
  process.exit(1);
};

const socket = new WebSocket(url, protocols ?? [], options);
const state = { replies: 0, pongs: 0 };
const step = () => {
  const next = due[state.replies];
  if (next) {
    socket.send(next.data, { binary: next.binary });
  } else {
    socket.ping("last");
  }
};

socket.on("open", step);
socket.on("error", fail);
socket.on("message", (data, isBinary) => {
  const { data: wanted, binary } = due[state.replies] ?? {};
  if (wanted === undefined || isBinary !== binary || !wanted.equals(data)) {
    fail(`message ${state.replies} did not come back as it was sent`);
  }
  state.replies += 1;
  step();
});
socket.on("pong", () => {
  state.pongs += 1;
  socket.close(1000, "bye");
});
socket.on("close", (code) => {
  const { extensions, protocol } = socket;
  console.log(JSON.stringify({ ...state, extensions, protocol, code }));
});
