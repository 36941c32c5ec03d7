"""Targets that work: they say through which exit they were reached. Two of them do so only sometimes."""

import asyncio

import unruly
from wire import body, read_head, reset, response

WEB_FAULTS = [unruly.status(503), unruly.after_request(reset), unruly.short]
RAW_FAULTS = [unruly.after_request(reset), unruly.close_at_first_byte]


async def read_request(reader):
    """A request with the length of its body (framing included), or `None` at the end of the connection."""
    head = await read_head(reader)
    if head is None:
        return None
    length = 0
    async for part in body(reader, head, until_close=False):
        length += len(part)
    return head, length


class Targets:
    """The servers behind the names."""

    def __init__(self, net, rng):
        self.net = net
        self.rng = rng
        # The exit that `picky` targets do not answer through.
        self.victim = None
        # When a `picky` target has failed the victim.
        self.picked = []

    async def start(self):
        serve = self.net.serve
        for kind, web, raw in [
            ("good", self.web, self.echo),
            ("flaky", self.flaky(self.web, WEB_FAULTS), self.flaky(self.echo, RAW_FAULTS)),
            ("picky", self.picky(self.web, WEB_FAULTS[:2]), self.picky(self.echo, RAW_FAULTS)),
        ]:
            await serve(kind, False, web)
            await serve(kind, True, raw)
        for kind, handler in unruly.WEB.items():
            await serve(kind, False, handler)
        for kind, handler in unruly.RAW.items():
            await serve(kind, True, handler)

    async def web(self, reader, writer):
        """Answers each request with the exit's name and the length of the request's body."""
        found = await read_request(reader)
        if found is None:
            return
        head, length = found
        await asyncio.sleep(0.01 + min(self.rng.expovariate(20), 0.5))
        path = head.start.split()[1]
        if path.endswith("/503"):
            writer.write(response(503, "Service Unavailable", "down\n", [("Connection", "close")]))
        else:
            headers = [("X-Exit", self.net.exit_of(writer)), ("Connection", "close")]
            writer.write(response(200, "OK", f"{length}\n" + "x" * self.rng.randrange(4000), headers))
        await writer.drain()

    async def echo(self, reader, writer):
        """A protocol of lines: each one is answered with the exit's name."""
        while await reader.readline():
            writer.write(f"{self.net.exit_of(writer)}\n".encode())
            await writer.drain()

    def flaky(self, handler, faults):
        """One connection in ten fails, in one way or another."""

        async def handle(reader, writer):
            if self.rng.random() < 0.1:
                await self.rng.choice(faults)(reader, writer)
            else:
                await handler(reader, writer)

        return handle

    def picky(self, handler, faults):
        """Fails through one exit and answers through the others, as a target of an attacker does."""

        async def handle(reader, writer):
            # A turn of the loop later the exit is known.
            await asyncio.sleep(0.005)
            if self.net.exit_of(writer) == self.victim:
                self.picked.append(asyncio.get_running_loop().time())
                await self.rng.choice(faults)(reader, writer)
            else:
                await handler(reader, writer)

        return handle
