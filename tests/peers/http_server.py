"""An HTTP server that takes POSTs, tells each on stdout as a line of JSON, and answers as it is told to.

    http_server.py [RULES]

RULES is a JSON object:
  "answers": what the first requests are answered with, in order: a status, [status, {header: value}], [status, {header: value}, body], "close" (no answer), "stall"
             (no answer until the client leaves) or "bye" (200, then the connection is closed without a word)
  "refuse":  a request whose body holds this text is answered with 400
  "port":    the port to listen on; any by default
  "unix":    a socket to listen on instead
  "cert", "key": TLS
"""

import json
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler

rules = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
answers = list(rules.get("answers", []))
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # Held until the answer is sent and told of, so that neither happens without the other.
        with lock:
            answer = answers.pop(0) if answers else 200
            refused = rules.get("refuse") and rules["refuse"].encode() in body
            if refused and answer == 200:
                answer = 400
            told = {
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": body.decode("utf-8", "backslashreplace") if len(body) < 4 * 1024 * 1024 else len(body),
                "from": str(self.client_address),
                "answer": answer,
            }
            if answer not in ("stall", "close"):
                self.answer(answer)
            print(json.dumps(told), flush=True)
        if answer == "stall":
            self.connection.recv(1)
        if answer in ("stall", "close", "bye"):
            self.close_connection = True

    def answer(self, answer):
        status, headers, *body = answer if isinstance(answer, list) else (200 if answer == "bye" else answer, {})
        text = b"" if status in (204, 200) else b"no, because I was told so\n"
        text = body[0].encode() if body else text
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if text:
            self.wfile.write(text)

    def log_message(self, *_):
        pass


def leave(*_):
    lock.acquire()
    os._exit(0)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


class UnixServer(Server):
    address_family = socket.AF_UNIX

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("unix", 0)


if "unix" in rules:
    Handler.disable_nagle_algorithm = False
    server = UnixServer(rules["unix"], Handler)
    print("listening 0", flush=True)
else:
    server = Server(("127.0.0.1", rules.get("port", 0)), Handler)
    if "cert" in rules:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(rules["cert"], rules["key"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("listening", server.server_address[1], flush=True)
signal.signal(signal.SIGTERM, leave)
server.serve_forever()
