"""Targets that misbehave, by kind. `WEB` are reached by plain HTTP, `RAW` through tunnels."""

import asyncio

from wire import body, read_head, reset, response


async def request(reader):
    """Reads a request, or the first bytes of a tunnel."""
    try:
        head = await asyncio.wait_for(read_head(reader), 10)
        if head:
            async for _ in body(reader, head, until_close=False):
                pass
    except Exception:  # An answer follows that is no better than the request.
        pass


async def until_end(reader):
    while await reader.read(65536):
        pass


def after_request(act):
    """Does something to the connection once the request is there."""

    async def handle(reader, writer):
        await reader.read(1024)
        act(writer)

    return handle


def says(data, holds=False):
    """Answers with these bytes; closes, or stays silent until the other side has gone."""

    async def handle(reader, writer):
        await request(reader)
        writer.write(data)
        await writer.drain()
        if holds:
            await until_end(reader)

    return handle


def status(code):
    headers = [("Connection", "close")]
    if code == 407:
        headers.append(("Proxy-Authenticate", 'Basic realm="target"'))
    return says(response(code, "No", "no\n", headers))


async def hang(reader, _writer):
    await until_end(reader)


async def close_at_first_byte(reader, _writer):
    await reader.read(1)


OK = b"HTTP/1.1 200 OK\r\n"
short = says(OK + b"Content-Length: 1000\r\n\r\nhalf")

WEB = {
    "reset": after_request(reset),
    "hang": hang,
    "halfhead": says(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "nonhttp": says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "badgateway": status(502),
    "unavailable": status(503),
    "gatewaytimeout": status(504),
    "challenge": status(407),
    "short": short,
    "badchunk": says(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"),
    "silence": says(OK + b"Content-Length: 1000\r\n\r\nhalf", holds=True),
}
RAW = {
    "reset": after_request(reset),
    "firstbyte": close_at_first_byte,
    "sink": hang,
}
