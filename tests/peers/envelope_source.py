"""A source that knows what was acknowledged, made with Python `websockets`: sends numbered envelopes until all are.

    envelope_source.py URL FILE LAST WINDOW

Sends the numbers up to LAST as data, at most WINDOW of them unanswered at a time, from the one after that in FILE on. FILE
holds the number up to which all are acknowledged; it survives this program. After a lost connection it connects again and
sends again what has no answer, in order. Prints `done` when LAST is acknowledged.
"""

import json
import os
import sys
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

url, path, last, window = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
file = os.open(path, os.O_RDWR | os.O_CREAT)
acknowledged = int(os.pread(file, 20, 0) or 0)


def converse(connection):
    global acknowledged
    answered, sent = set(), acknowledged
    while acknowledged < last:
        while sent < last and sent - acknowledged < window:
            sent += 1
            envelope = {"type": "data", "id": str(sent), "timestamp": int(time.time() * 1000), "payload": sent}
            connection.send(json.dumps(envelope))
        envelope = json.loads(connection.recv())
        if envelope["type"] == "nack":
            sys.exit(f"refused: {envelope}")
        if envelope["type"] != "ack":
            continue
        answered.add(int(envelope["id"]))
        before = acknowledged
        while acknowledged + 1 in answered:
            acknowledged += 1
            answered.remove(acknowledged)
        if acknowledged != before:
            # One write of fixed size: a kill leaves the old number or the new one.
            os.pwrite(file, b"%020d" % acknowledged, 0)


while acknowledged < last:
    try:
        with connect(url, proxy=None, open_timeout=5, close_timeout=1, compression=None) as connection:
            converse(connection)
    except (OSError, WebSocketException, TimeoutError, EOFError):
        time.sleep(0.02)
print("done", flush=True)
