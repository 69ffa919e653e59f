// A program per connection on npm `ws`, a line for each message: what `wsp listen --exec` is compared with.
// Prints the port it got on 127.0.0.1. The program is `cat`.
const { spawn } = require('child_process');
const readline = require('readline');
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket) => {
  const program = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
  readline.createInterface({ input: program.stdout }).on('line', (line) => socket.send(line));
  program.stdin.on('error', () => {});
  program.on('exit', () => socket.close());
  socket.on('message', (data) => program.stdin.write(`${data}\n`));
  socket.on('close', () => program.stdin.end());
  socket.on('error', () => {});
});
