"""A client of the gateway: requests and tunnels, and the author of each answer."""

import asyncio
import base64
from dataclasses import dataclass

from wire import Broken, body, close, read_head

# Far beyond the gateway's own timeouts: a longer wait is the machine's.
LIMIT = 90


@dataclass
class Answer:
    """How a request ended. `status` 0: the connection closed without a response."""

    status: int
    headers: object = None
    body: bytes = b""
    is_whole: bool = True

    @property
    def is_gateways(self):
        """Whether remora wrote it, rather than an exit or a target."""
        if self.status == 0:
            return True
        return self.headers.get("proxy-status").startswith("remora") or self.body.startswith(b"remora:")


def credentials(session):
    """The header that names a session, if there is one."""
    if session is None:
        return []
    pair = base64.b64encode(f"c-session-{session}:x".encode()).decode()
    return [("Proxy-Authorization", f"Basic {pair}")]


def encode(start, pairs):
    return ("\r\n".join([start, *(f"{key}: {value}" for key, value in pairs)]) + "\r\n\r\n").encode()


class Client:
    """Makes connections to one gateway."""

    def __init__(self, port):
        self.port = port
        # Requests that take a lease; attempts are counted by the exits.
        self.requests = 0

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def head(self, method, host, session, path="/", pairs=()):
        """The head of a plain request."""
        pairs = [("Host", host), *credentials(session), ("Connection", "close"), *pairs]
        return encode(f"{method} http://{host}{path} HTTP/1.1", pairs)

    async def send(self, method, host, session=None, path="/", data=b"", is_chunked=False):
        """A plain request of its own connection."""
        self.requests += 1
        pairs = []
        if is_chunked:
            pairs = [("Transfer-Encoding", "chunked")]
            data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        elif data or method in ("POST", "PUT"):
            pairs = [("Content-Length", str(len(data)))]
        reader, writer = await self.connect()
        try:
            writer.write(self.head(method, host, session, path, pairs) + data)
            return await asyncio.wait_for(self.answer(reader), LIMIT)
        finally:
            await close(writer)

    async def answer(self, reader):
        try:
            head = await read_head(reader)
        except (Broken, OSError):
            head = None
        if head is None:
            return Answer(0)
        got = bytearray()
        try:
            async for part in body(reader, head, until_close=True):
                got += part
        except (Broken, OSError):
            return Answer(head.status, head, bytes(got), is_whole=False)
        return Answer(head.status, head, bytes(got))

    async def tunnel(self, host, session=None, port=443):
        """Opens a tunnel: the answer, and the connection where it is 200."""
        self.requests += 1
        reader, writer = await self.connect()
        target = f"{host}:{port}"
        writer.write(encode(f"CONNECT {target} HTTP/1.1", [("Host", target), *credentials(session)]))
        try:
            head = await asyncio.wait_for(read_head(reader), LIMIT)
        except (Broken, OSError):
            head = None
        except BaseException:
            await close(writer)
            raise
        if head and head.status == 200:
            return Answer(200, head), (reader, writer)
        answer = Answer(0)
        if head:
            answer = Answer(head.status, head, await reader.read(200))
        await close(writer)
        return answer, None
