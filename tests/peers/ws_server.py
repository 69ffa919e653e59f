"""An echo server made with Python `websockets`, for tests of `wsp connect`.

usage: python ws_server.py [OPTIONS]

OPTIONS is JSON: "cert" and "key" (files; then it speaks TLS), "client_ca" (clients must show a certificate of it),
"tls_max" ("1.2"), "compression" ("deflate" or null), "subprotocols" (a list).
Prints `listening PORT`, then one line of JSON per connection. The text message `close CODE REASON` closes.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.server import serve


def tls(options, names):
    """The TLS settings, noting in `names` the server names that clients ask for."""
    if "cert" not in options:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["cert"], options["key"])
    if "client_ca" in options:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options["client_ca"])
    if options.get("tls_max") == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return context


async def main():
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    names = []

    async def echo(connection):
        print(
            json.dumps(
                {
                    "event": "open",
                    "path": connection.request.path,
                    "subprotocol": connection.subprotocol,
                    "extensions": connection.response.headers.get("Sec-WebSocket-Extensions", ""),
                    "sni": names[-1] if names else None,
                }
            ),
            flush=True,
        )
        async for message in connection:
            if isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                await connection.close(int(code), reason)
            else:
                await connection.send(message)

    server = await serve(
        echo,
        "127.0.0.1",
        0,
        ssl=tls(options, names),
        compression=options.get("compression", "deflate"),
        subprotocols=options.get("subprotocols"),
        max_size=None,
    )
    print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
