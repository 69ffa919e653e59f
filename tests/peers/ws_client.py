"""A client made with Python `websockets`, for tests of `wsp listen`.

usage: python ws_client.py URL OPTIONS MESSAGE...

A MESSAGE `repeat:N:TEXT` stands for N times TEXT. OPTIONS is JSON: "ca" (a file with the certificate to trust), "compression" ("deflate" or null), "subprotocols".
Sends each MESSAGE as text and the same bytes as binary and waits for each to come back unchanged; then sends the first
one again in pieces. Prints one line of JSON; exits 1 when anything went wrong.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect


def expand(message):
    if message.startswith("repeat:"):
        _, times, text = message.split(":", 2)
        return text * int(times)
    return message


async def main():
    url, options, *messages = sys.argv[1:]
    messages = [expand(message) for message in messages]
    options = json.loads(options)
    more = {}
    if "ca" in options:
        more["ssl"] = ssl.create_default_context(cafile=options["ca"])
    async with connect(
        url,
        compression=options.get("compression", "deflate"),
        subprotocols=options.get("subprotocols"),
        proxy=None,
        max_size=None,
        **more,
    ) as connection:
        replies = 0
        for text in messages:
            for message in (text, text.encode()):
                await connection.send(message)
                reply = await connection.recv()
                assert reply == message, f"{message!r} came back as {reply!r}"
                replies += 1
        await connection.send(iter([messages[0], "", messages[0]]))
        assert await connection.recv() == messages[0] * 2, "pieces were not put together"
        await (await connection.ping())
        extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "")
        subprotocol = connection.subprotocol
    print(
        json.dumps(
            {
                "replies": replies,
                "extensions": extensions,
                "subprotocol": subprotocol,
                "code": connection.close_code,
            }
        )
    )


asyncio.run(main())
