"""All that a run needs: targets, exits, the gateway and its client, started together and stopped together."""

import asyncio
import resource
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager

from client import Client
from exits import Exit
from gateway import Gateway
from good import Good
from network import Network
from socks import SocksExit
from stalls import Stalls
from targets import Targets

# The software of the exits, in turn. tinyproxy answers 500 to a plain request for a dead name, and others 503: a pool
# of both tells exits apart by itself, which is why it is not the default.
POOLS = {
    "usual": ["squid", "relay", "squid", "socks"],
    "tinyproxy": ["tinyproxy"],
    "mixed": ["squid", "tinyproxy", "relay", "socks"],
}


class World:
    """A gateway with `count` exits of its own."""

    def __init__(self, binary, rng, count, pool="usual", log=None, ttl=10):
        self.net = Network(rng)
        self.targets = Targets(self.net, rng)
        kinds = POOLS[pool]
        # A pool of one is another one for each seed.
        shift = rng.randrange(len(kinds)) if count == 1 else 0
        self.exits = [self.exit(number, kinds[(number + shift) % len(kinds)]) for number in range(count)]
        self.stalls = Stalls()
        self.directory = tempfile.mkdtemp(prefix="remora-campaign-")
        self.gateway = Gateway(binary, self.directory, self.exits, log, ttl)
        self.client = None
        self.good = None
        self.tasks = set()

    def exit(self, number, software):
        name = f"{software}{number}"
        return SocksExit(self.net, name) if software == "socks" else Exit(self.net, name, software)

    @property
    def asked(self):
        return sum(exit.asked for exit in self.exits)

    @property
    def attempts(self):
        """Attempts per request."""
        return self.asked / max(1, self.client.requests)

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def rest(self, limit=30):
        """Waits for requests under way."""
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=limit)

    async def start(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
        await self.net.start()
        await self.targets.start()
        for exit in self.exits:
            await exit.start()
        await self.gateway.start()
        self.client = Client(self.gateway.listen)
        self.good = Good(self.client, self.stalls)
        self.stalls.start()

    async def stop(self):
        for task in list(self.tasks):
            task.cancel()
        await self.gateway.stop()
        if self.stalls.task:
            self.stalls.stop()
        for exit in self.exits:
            if exit.server:
                exit.stop()
        await self.net.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@asynccontextmanager
async def world(*args, **kwargs):
    made = World(*args, **kwargs)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def arrivals(rng, rate, seconds):
    """Poisson arrivals. A request that could not be sent in time is sent late, not left out."""
    loop = asyncio.get_running_loop()
    at = begin = loop.time()
    while True:
        at += rng.expovariate(rate)
        if at > begin + seconds:
            return
        await asyncio.sleep(max(0, at - loop.time()))
        yield loop.time() - begin


def progress(text):
    print(text, file=sys.stderr, flush=True)
