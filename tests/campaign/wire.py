"""HTTP/1.1 on asyncio streams: heads and bodies, as far as the campaign needs them."""

import asyncio
from dataclasses import dataclass

CHUNK = 65536


class Broken(Exception):
    """The other side ended before the message did, or sent no HTTP."""


@dataclass
class Head:
    """A start line and its headers."""

    start: str
    headers: list

    def get(self, name, default=""):
        """The first value of a header; names in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), default)

    @property
    def length(self):
        """`Content-Length`, if there is a valid one."""
        value = self.get("content-length")
        return int(value) if value.isdigit() else None

    @property
    def is_chunked(self):
        return "chunked" in self.get("transfer-encoding").lower()

    @property
    def closes(self):
        return "close" in self.get("connection").lower()

    @property
    def status(self):
        """Of a response; `Broken` where the start line is not one."""
        parts = self.start.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise Broken(f"not a status line: {self.start[:40]!r}")
        return int(parts[1])

    def encode(self):
        lines = [self.start, *(f"{key}: {value}" for key, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader):
    """A head, or `None` where the connection ended before its first byte."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise Broken(f"half a head: {error.partial[:40]!r}") from error
    except asyncio.LimitOverrunError as error:
        raise Broken("a head without an end") from error
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return Head(start, [(key.strip(), value.strip()) for key, _, value in pairs])


async def body(reader, head, until_close):
    """The parts of a message's body as they stand on the wire, framing included.

    `until_close`: a body without a length goes on until the end of the connection, as a response's does.
    """
    if head.is_chunked:
        async for part in chunks(reader):
            yield part
    elif head.length is not None:
        left = head.length
        while left:
            part = await reader.read(min(left, CHUNK))
            if not part:
                raise Broken(f"{left} bytes of a body are missing")
            left -= len(part)
            yield part
    elif until_close:
        while part := await reader.read(CHUNK):
            yield part


async def chunks(reader):
    """A chunked body, framing included."""
    while True:
        line = await reader.readline()
        yield line
        try:
            size = int(line.strip().split(b";")[0], 16)
        except ValueError:
            raise Broken(f"bad chunk: {line[:20]!r}") from None
        try:
            rest = await reader.readexactly(size + 2)
        except asyncio.IncompleteReadError as error:
            yield error.partial
            raise Broken("half a chunk") from error
        yield rest
        if size == 0:
            return


def response(status, phrase, text, headers=()):
    """A whole response with a length."""
    data = text.encode()
    pairs = [("Content-Type", "text/plain"), ("Content-Length", str(len(data))), *headers]
    return Head(f"HTTP/1.1 {status} {phrase}", pairs).encode() + data


def reset(writer):
    """Ends a connection with RST."""
    writer.transport.abort()


async def close(writer):
    """Ends a connection, however it is."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), 5)
    except (OSError, TimeoutError):
        pass
