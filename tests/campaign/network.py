"""The campaign's internet: the table of names, and which exit a connection comes from.

A name says how its target behaves: `good7.test`, `reset3.test`, `dead-….test`. All targets of one kind share a
server on loopback; the port decides between the web server (80, 22 and others) and the raw server (443).
"""

import asyncio
import re
import socket

from wire import Broken, close, reset

NAME = re.compile(r"^([a-z]+)[-0-9a-z]*\.test$")


class Unreachable(Exception):
    """Why an exit has no connection to a target: `dns`, `refused`, `timeout`, `denied`."""


class Network:
    """Names to ports, and the source ports of the exits."""

    def __init__(self, rng):
        self.rng = rng
        self.ports = {}
        self.sources = {}
        self.servers = []
        self.closed = None

    async def serve(self, kind, is_raw, handler):
        """Starts the server of a kind of target. `handler(reader, writer)` runs once a connection."""

        async def handle(reader, writer):
            try:
                await asyncio.wait_for(handler(reader, writer), 120)
                await close(writer)
            except (OSError, TimeoutError, EOFError, ValueError, Broken):
                await close(writer)
            except asyncio.CancelledError:
                # The end of the run. asyncio's streams complain of handlers that are cancelled.
                reset(writer)

        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
        self.servers.append(server)
        self.ports[kind, is_raw] = server.sockets[0].getsockname()[1]

    async def start(self):
        # Bound and not listening: nothing else gets the port, and a connection is refused.
        self.closed = socket.socket()
        self.closed.bind(("127.0.0.1", 0))

    async def stop(self):
        for server in self.servers:
            server.close()
        if self.closed:
            self.closed.close()

    def resolve(self, host, port):
        """The loopback port of a target."""
        found = NAME.match(host)
        kind = found[1] if found else ""
        if port == 22:
            raise Unreachable("denied")
        if kind == "refused":
            return self.closed.getsockname()[1]
        if kind == "blackhole":
            raise Unreachable("timeout")
        if (kind, port == 443) not in self.ports:
            raise Unreachable("dns")
        return self.ports[kind, port == 443]

    async def dial(self, exit_name, host, port):
        """A connection from an exit to a target."""
        try:
            there = self.resolve(host, port)
        except Unreachable as error:
            if error.args[0] == "timeout":
                # As long as no SYN is answered: the gateway gives up before.
                await asyncio.sleep(20)
            raise
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", there)
        except OSError:
            raise Unreachable("refused") from None
        # Both ports: connections to two servers may have the same source port.
        self.sources[writer.get_extra_info("sockname")[1], there] = exit_name
        return reader, writer

    def exit_of(self, writer):
        """Through which exit a target was reached."""
        ends = (writer.get_extra_info(name)[1] for name in ["peername", "sockname"])
        return self.sources.get(tuple(ends), "?")
