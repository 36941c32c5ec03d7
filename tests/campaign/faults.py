"""Ways in which an exit fails. A fault gets each request first; true where it has dealt with it."""

import asyncio

from wire import body, reset, response


async def consume(head, reader):
    """The rest of a request: unread bytes would turn a close into a reset."""

    async def read():
        async for _ in body(reader, head, until_close=False):
            pass

    await asyncio.wait_for(read(), 5)


def says(data):
    async def fault(_exit, head, reader, writer):
        await consume(head, reader)
        writer.write(data)
        await writer.drain()
        return True

    return fault


async def resets(_exit, head, reader, writer):
    await consume(head, reader)
    reset(writer)
    return True


async def hangs(_exit, _head, reader, _writer):
    while await reader.read(65536):
        pass
    return True


CLOSE = [("Connection", "close")]
BAD_GATEWAY = says(response(502, "Bad Gateway", "no route\n", CLOSE))
ASKS = [("Proxy-Authenticate", 'Basic realm="exit"'), *CLOSE]
CHALLENGE = says(response(407, "Proxy Authentication Required", "credentials?\n", ASKS))
HALF_A_BODY = says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


async def half_the_time(exit, head, reader, writer):
    return exit.net.rng.random() < 0.5 and await BAD_GATEWAY(exit, head, reader, writer)


async def cuts(exit, head, reader, writer):
    return not head.start.startswith("CONNECT") and await HALF_A_BODY(exit, head, reader, writer)


async def closes(_exit, head, reader, writer):
    if not head.start.startswith("CONNECT"):
        return False
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await reader.read(1024)
    return True


# Kind -> fault and the share of tunnels in the traffic that meets it. `refuses` does not listen.
FAULTS = {
    "refuses": (None, 0.2),
    "resets": (resets, 0.2),
    "hangs": (hangs, 0.2),
    "407": (CHALLENGE, 0.2),
    "502": (BAD_GATEWAY, 0.2),
    "502 to half": (half_the_time, 0.2),
    "cuts bodies": (cuts, 0.0),
    "closes tunnels": (closes, 1.0),
}


def break_exit(exit, kind):
    """From now on it fails, connections that are kept included."""
    fault, _ = FAULTS[kind]
    if fault is None:
        exit.stop()
    else:
        exit.fault = fault
