// An echo server made with npm `websocket`, for tests of how connections end.
//
// usage: node websocket-server.js [CERT KEY]      with TLS where PEM files are given
//
// Prints `listening PORT`, then one line of JSON for each connection that has ended. The text message `close` is
// answered by a Close 1000; everything else is sent back as it came.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import websocket from "websocket";

const [cert, key] = process.argv.slice(2);
const refuse = (request, response) => response.writeHead(404).end();
const server = cert
  ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, refuse)
  : http.createServer(refuse);

server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
new websocket.server({ httpServer: server, autoAcceptConnections: true }).on("connect", (connection) => {
  connection.on("message", (message) => {
    if (message.type === "binary") {
      connection.sendBytes(message.binaryData);
    } else if (message.utf8Data === "close") {
      connection.close(1000);
    } else {
      connection.sendUTF(message.utf8Data);
    }
  });
  connection.on("error", (error) => console.log(JSON.stringify({ event: "error", error: error.message })));
  connection.on("close", (code) => console.log(JSON.stringify({ event: "close", code })));
});
