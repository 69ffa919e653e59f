"""Clients of `wsp listen --protocol feed` and `--protocol envelope`, made with Python `websocket-client`.

usage: python websocket_client.py feed URL FILTERS COUNT
       python websocket_client.py envelope URL OPTIONS

feed: answers the welcome by registering with FILTERS (JSON), in the shape that the welcome shows, and leaves after COUNT
events. envelope: OPTIONS is JSON, each part done after the one before it: "requests" [{"method", "params"}…], each
waiting for its reply; "send" [payload…], then waiting for the answer to each; "receive" N, which waits for so many data
envelopes in all. Data is acknowledged as it comes, but for payloads in "refuse" (nack) and "ignore" (no answer). With
"stay" it goes on until the server closes. Prints a line of JSON for each envelope or message as it comes, and at the end
{"close": CODE}.
"""

import json
import sys
import time
import uuid

import websocket


def say(line):
    print(json.dumps(line), flush=True)


class Closed(Exception):
    """The server has closed, with this code."""


def receive(connection):
    opcode, data = connection.recv_data()
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        raise Closed(int.from_bytes(data[:2], "big") if data else None)
    return json.loads(data)


def feed(connection, filters, count):
    welcome = receive(connection)
    say({"control": welcome})
    register = welcome["format"]
    register["filters"].update(json.loads(filters))
    connection.send(json.dumps(register))
    say({"control": receive(connection)})
    for _ in range(int(count)):
        say({"event": receive(connection)})


class Envelopes:
    def __init__(self, connection, options):
        self.connection = connection
        self.options = options
        self.data = []

    def send(self, kind, id, payload=None):
        envelope = {"type": kind, "id": id, "timestamp": int(time.time() * 1000)}
        if payload is not None:
            envelope["payload"] = payload
        self.connection.send(json.dumps(envelope))

    def receive(self):
        """The next envelope; data is answered on the way."""
        envelope = receive(self.connection)
        say({"received": envelope})
        assert set(envelope) >= {"type", "id", "timestamp"}, envelope
        if envelope["type"] == "data":
            payload = envelope["payload"]
            self.data.append(payload)
            if payload in self.options.get("refuse", []):
                self.send("nack", envelope["id"], {"reason": "refused", "error": "not this one"})
            elif payload not in self.options.get("ignore", []):
                self.send("ack", envelope["id"])
        return envelope

    def await_all(self, wanted):
        """Waits for an envelope of each of these (types, id)."""
        while wanted:
            envelope = self.receive()
            wanted = [(types, id) for types, id in wanted if not (envelope["type"] in types and envelope["id"] == id)]

    def run(self):
        for request in self.options.get("requests", []):
            id = str(uuid.uuid4())
            self.send("request", id, request)
            self.await_all([(("reply", "nack"), id)])
        sent = [(str(uuid.uuid4()), payload) for payload in self.options.get("send", [])]
        for id, payload in sent:
            self.send("data", id, payload)
        self.await_all([(("ack", "nack"), id) for id, _ in sent])
        while len(self.data) < self.options.get("receive", 0):
            self.receive()
        while self.options.get("stay"):
            self.receive()


def main():
    role, url, *arguments = sys.argv[1:]
    connection = websocket.create_connection(url, timeout=20, http_no_proxy=["*"])
    code = 1000
    try:
        if role == "feed":
            feed(connection, *arguments)
        else:
            Envelopes(connection, json.loads(arguments[0])).run()
        connection.close(1000)
    except Closed as closed:
        code = closed.args[0]
    say({"close": code})


main()
