"""An HTTP server that appends each body to a file before it answers, so that a kill loses nothing it has answered for.

    http_file.py FILE PORT

Prints `listening PORT` when it does.
"""

import os
import socketserver
import sys
from http.server import BaseHTTPRequestHandler

file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        os.write(file, body if body.endswith(b"\n") else body + b"\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A relay that was killed is nothing to speak of."""


server = Server(("127.0.0.1", int(sys.argv[2])), Handler)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
