"""Exits: forward proxies that work, for plain HTTP and CONNECT. Broken ones: faults.py."""

import asyncio
from collections import deque
from urllib.parse import urlsplit

from network import Unreachable
from wire import CHUNK, Broken, body, close, read_head, reset
from words import WORDS

HOP_BY_HOP = {"connection", "proxy-connection", "proxy-authorization", "keep-alive", "te"}


async def pump(reader, writer):
    """Bytes in one direction until their end."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def relay(near, far):
    """Bytes in both directions. The far side's end ends it; the near side's is passed on."""

    async def up():
        await pump(near[0], far[1])
        far[1].write_eof()

    upward = asyncio.create_task(up())
    downward = asyncio.create_task(pump(far[0], near[1]))
    try:
        await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        if not downward.done() and not upward.exception():
            await asyncio.wait({downward})
    finally:
        broken = [task for task in (upward, downward) if task.done() and not task.cancelled() and task.exception()]
        for task in (upward, downward):
            task.cancel()
        if broken:
            # A reset is passed on as one.
            reset(near[1])
            reset(far[1])
        await close(far[1])


class Exit:
    """An HTTP forward proxy. `software` decides about its words."""

    scheme = "http"

    def __init__(self, net, name, software):
        self.net = net
        self.name = name
        self.software = software
        # Requests and tunnels that it was asked for.
        self.asked = 0
        # The last of them, in words.
        self.recent = deque(maxlen=16)
        # Takes each request first: `async fault(exit, head, reader, writer)`, true where it has dealt with it.
        self.fault = None
        self.writers = set()
        self.server = None
        self.port = 0

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def start(self):
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        """Stops listening, and resets its connections."""
        self.server.close()
        for writer in list(self.writers):
            reset(writer)

    async def handle(self, reader, writer):
        self.writers.add(writer)
        try:
            while await self.request(reader, writer):
                pass
            await close(writer)
        except (OSError, Broken, asyncio.IncompleteReadError):
            await close(writer)
        except asyncio.CancelledError:
            # The end of the run. asyncio's streams complain of handlers that are cancelled.
            reset(writer)
        finally:
            self.writers.discard(writer)

    async def request(self, reader, writer):
        """One request; answers whether the connection goes on."""
        head = await read_head(reader)
        if head is None:
            return False
        self.asked += 1
        method, target, _ = head.start.split(None, 2)
        self.recent.append(f"{method} {target.removeprefix('http://')}")
        if self.fault and await self.fault(self, head, reader, writer):
            return False
        try:
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                far = await self.until_left(reader, self.net.dial(self.name, host, int(port)))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await relay((reader, writer), far)
                return False
            return await self.until_left(reader, self.forward(head, method, urlsplit(target), reader, writer))
        except Unreachable as error:
            writer.write(WORDS[self.software](error.args[0]))
            await writer.drain()
            return False

    async def until_left(self, reader, work):
        """Gives up once the other side has left. It reads no byte for that: it would be the next request's."""
        task = asyncio.create_task(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=0.25)
                if done:
                    return task.result()
                if reader.at_eof() or reader.exception():
                    raise Broken("the client has left")
        finally:
            task.cancel()

    async def forward(self, head, method, url, reader, writer):
        """A plain request."""
        far_reader, far = await self.net.dial(self.name, url.hostname, url.port or 80)
        upload = asyncio.create_task(self.upload(head, method, url, reader, far))
        try:
            goes_on = await self.download(method, far_reader, writer)
            await writer.drain()
            # An answer that came before the end of the request leaves a rest on the connection.
            return goes_on and upload.done() and not upload.exception()
        finally:
            if not upload.cancel() and not upload.cancelled():
                upload.exception()
            await close(far)

    async def upload(self, head, method, url, reader, far):
        head.start = f"{method} {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.1"
        kept = [(key, value) for key, value in head.headers if key.lower() not in HOP_BY_HOP]
        head.headers = [*kept, ("Connection", "close")]
        far.write(head.encode())
        async for part in body(reader, head, until_close=False):
            far.write(part)
            await far.drain()

    async def download(self, method, far, writer):
        """The response; answers whether the connection can go on after it."""
        if self.software == "relay":
            # Passes on the bytes unread.
            await pump(far, writer)
            return False
        try:
            head = await read_head(far)
            if head is None:
                writer.write(WORDS[self.software]("empty"))
                return False
            status = head.status
        except Broken:
            writer.write(WORDS[self.software]("invalid"))
            return False
        is_framed = head.is_chunked or head.length is not None
        keeps = self.software == "squid" and is_framed
        kept = [(key, value) for key, value in head.headers if key.lower() not in HOP_BY_HOP]
        # tinyproxy closes after each response without saying so.
        head.headers = kept if keeps or self.software == "tinyproxy" else [*kept, ("Connection", "close")]
        writer.write(head.encode())
        if method != "HEAD" and status not in (204, 304):
            async for part in body(far, head, until_close=True):
                writer.write(part)
                await writer.drain()
        return keeps
