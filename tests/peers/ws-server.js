// An echo server made with npm `ws`, for tests of `wsp connect`.
//
// usage: node ws-server.js [OPTIONS]      OPTIONS: JSON for `new WebSocketServer`, for example
//        {"perMessageDeflate": {"threshold": 0}}
//
// Prints `listening PORT`, then one line of JSON per event. The text message `fragments` is answered by a message in
// three frames with a ping between them; everything else is sent back as it came.

import { WebSocketServer } from "ws";

const options = JSON.parse(process.argv[2] ?? "{}");
const print = (event) => console.log(JSON.stringify(event));
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options });

server.on("listening", () => console.log(`listening ${server.address().port}`));
server.on("connection", (socket) => {
  print({ event: "open", extensions: socket.extensions, protocol: socket.protocol });
  socket.on("message", (data, isBinary) => {
    print({ event: "message", size: data.length, binary: isBinary });
    if (!isBinary && data.toString() === "fragments") {
      socket.send("one, ", { fin: false });
      socket.ping("between");
      socket.send("two, ", { fin: false });
      socket.ping("again");
      socket.send("three", { fin: true });
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
  socket.on("pong", (data) => print({ event: "pong", text: data.toString() }));
  socket.on("error", (error) => print({ event: "error", error: error.message }));
  socket.on("close", (code, reason) => print({ event: "close", code, reason: reason.toString() }));
});
