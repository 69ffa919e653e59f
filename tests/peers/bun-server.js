// An echo server on Bun's own WebSockets, for tests of `wsp bench`.
//
// usage: bun bun-server.js
//
// Prints `listening PORT`. Compresses where the client offers it.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("a WebSocket upgrade is needed", { status: 426 });
  },
  websocket: {
    perMessageDeflate: true,
    message(socket, message) {
      socket.send(message, true);
    },
  },
});
console.log(`listening ${server.port}`);
