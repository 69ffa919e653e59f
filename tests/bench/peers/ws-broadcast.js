// Sends each line of stdin to all clients with npm `ws`: what the crowd benchmark compares with.
// Prints the port it got on 127.0.0.1.
const readline = require('readline');
const { WebSocket, WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, backlog: 4096 });
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket) => {
  socket.on('message', () => {});
  socket.on('error', () => {});
});
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  for (const client of server.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(line);
  }
});
