"""Traffic that misbehaves while every exit works: dead and broken targets, and clients that break off.

`COMPARED` ends are settled by sending the request again, or are the client's own. `UNCOMPARED` ends are not: no rule
tells the target's fault from the exit's there.
"""

import asyncio

from good import HOSTS, SESSIONS
from wire import close

HELLO = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(150))


class Bad:
    """One act each. An act has no outcome; only its effect on good traffic counts."""

    def __init__(self, client):
        self.client = client

    async def act(self, rng, name):
        try:
            await asyncio.wait_for(ACTS[name](self, rng), 120)
        except (OSError, EOFError, TimeoutError, ValueError):
            pass

    def session(self, rng):
        return rng.choice(SESSIONS)

    def name(self, rng, kind):
        """A target of a kind; dead ones are new each time, or asked for again."""
        return f"{kind}{rng.randrange(20 if rng.random() < 0.5 else 10**9)}.test"

    async def web(self, rng, kind, method="GET"):
        data = rng.randbytes(2000) if method == "POST" else b""
        await self.client.send(method, self.name(rng, kind), self.session(rng), data=data)

    async def tunnel(self, rng, kind, port=443, says=(HELLO,), then=0.0):
        """Opens a tunnel, says something, and leaves after `then` seconds or at the far side's end."""
        host = rng.choice(HOSTS) if kind == "good" else self.name(rng, kind)
        _, connection = await self.client.tunnel(host, self.session(rng), port)
        if connection is None:
            return
        reader, writer = connection
        try:
            for data in says:
                writer.write(data)
                await writer.drain()
                if len(says) > 1:
                    await asyncio.sleep(0.3)
            if then:
                try:
                    await asyncio.wait_for(reader.read(100), then)
                except TimeoutError:
                    pass
        finally:
            await close(writer)

    async def upload(self, rng, part, wait, is_chunked=False):
        """Sends a part of a body to a good target, waits, and leaves."""
        self.client.requests += 1
        reader, writer = await self.client.connect()
        pairs = [("Transfer-Encoding", "chunked")] if is_chunked else [("Content-Length", "100000")]
        try:
            writer.write(self.client.head("POST", rng.choice(HOSTS), self.session(rng), pairs=pairs) + part)
            await writer.drain()
            if wait:
                await asyncio.wait_for(reader.read(100), wait)
        finally:
            await close(writer)

    async def download(self, rng):
        """Leaves while the response is on its way."""
        self.client.requests += 1
        _, writer = await self.client.connect()
        writer.write(self.client.head("GET", rng.choice(HOSTS), self.session(rng)))
        await asyncio.sleep(rng.random() * 0.1)
        await close(writer)

    async def invalid(self, rng):
        reader, writer = await self.client.connect()
        writer.write(
            rng.choice(
                [
                    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"CONNECT good1.test HTTP/1.1\r\n\r\n",
                    b"GET https://good1.test/ HTTP/1.1\r\nHost: good1.test\r\n\r\n",
                    b"GET http://:80/ HTTP/1.1\r\nHost: \r\n\r\n",
                    HELLO,
                    b"GET http://good1.te",
                ]
            )
        )
        try:
            await asyncio.wait_for(reader.read(100), 2)
        finally:
            await close(writer)


def web(kind, method="GET"):
    return lambda bad, rng: bad.web(rng, kind, method)


def tunnel(kind, **how):
    return lambda bad, rng: bad.tunnel(rng, kind, **how)


UNREACHED = ["dead", "refused", "blackhole"]
STATUSES = ["badgateway", "unavailable", "gatewaytimeout", "challenge"]
BROKEN = [*UNREACHED, "reset", "hang", "halfhead", "nonhttp", *STATUSES]

COMPARED = {
    **{f"get {kind}": web(kind) for kind in BROKEN},
    **{f"connect {kind}": tunnel(kind) for kind in UNREACHED},
    "connect port 22": tunnel("good", port=22),
    "get flaky": web("flaky"),
    "tunnel left before hello": tunnel("good", says=()),
    "tunnel left after hello": tunnel("good"),
    "tunnel to a sink left": tunnel("sink", then=1.0),
    "tunnel that only sends": tunnel("sink", says=(b"a log line\n",) * 5, then=0.1),
    "tunnel never used": tunnel("good", says=(), then=8.0),
    "upload aborted": lambda bad, rng: bad.upload(rng, b"x" * 1000, 0),
    "upload stalled": lambda bad, rng: bad.upload(rng, b"x" * 1000, 5),
    "upload with a bad chunk": lambda bad, rng: bad.upload(rng, b"4\r\nhalf\r\nzz\r\n", 2, is_chunked=True),
    "download left": lambda bad, rng: bad.download(rng),
    "invalid request": lambda bad, rng: bad.invalid(rng),
}
UNCOMPARED = {
    **{f"post {kind}": web(kind, "POST") for kind in [*BROKEN, "flaky"]},
    **{f"body {kind}": web(kind) for kind in ["short", "badchunk", "silence"]},
    "tunnel closed at the first byte": tunnel("firstbyte", then=5.0),
    "tunnel reset": tunnel("reset", then=5.0),
    "tunnel silent until its limit": tunnel("sink", then=8.0),
    "tunnel flaky": tunnel("flaky", says=(b"hello\n",), then=5.0),
}
ACTS = COMPARED | UNCOMPARED
FLAKY = {"get flaky", "post flaky", "tunnel flaky"}
