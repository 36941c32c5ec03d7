"""How soon a broken exit is out: traffic as in the simulation, until the breaker of the exit opens."""

import asyncio
import random
from dataclasses import dataclass

from bad import HELLO
from faults import FAULTS, break_exit
from wire import close
from world import arrivals, world

HOSTS = [f"good{n}.test" for n in range(200)]
FLAKY = [f"flaky{n}.test" for n in range(25)]


@dataclass
class Found:
    """`seconds`: None where the breaker did not open within the bound."""

    seconds: float | None = None
    requests: int = 0
    failures: int = 0
    # Breakers of working exits that opened.
    others: int = 0


class Search:
    """`hides`: how many requests of an attacker there are to one of the others; each asks a good target for a path that
    answers 503."""

    def __init__(self, here, kind, hides=0):
        self.here = here
        self.kind = kind
        self.tunnels = FAULTS[kind][1]
        self.hides = hides
        self.victim = here.exits[0]
        self.found = Found()
        self.broken_at = None

    async def run(self, rng, rate, bound):
        # Sessions are there before the exit breaks: at 1/s those of a minute, at 100/s of nearly all targets.
        await self.load(rng, 60, min(10, rate), None)
        await self.here.rest(20)
        self.broken_at = asyncio.get_running_loop().time()
        break_exit(self.victim, self.kind)
        await self.load(rng, rate, bound, self.seen)
        # Requests from before it was out may still be waiting.
        await self.here.rest(20)
        if (at := self.seen()) is not None:
            self.found.seconds = at - self.broken_at
        openings = self.here.gateway.openings
        self.found.others = sum(name != self.victim.name or when < self.broken_at for when, name in openings)
        return self.found

    def seen(self):
        """When the exit's breaker opened."""
        openings = self.here.gateway.openings
        return next((when for when, name in openings if name == self.victim.name and when >= self.broken_at), None)

    async def load(self, rng, rate, seconds, until):
        async for _ in arrivals(rng, rate, seconds):
            if until and until():
                return
            own = random.Random(rng.getrandbits(64))
            self.here.spawn(self.one(own))
            for _ in range(self.hides):
                self.here.spawn(self.hide(own))

    async def hide(self, rng):
        await self.here.client.send("GET", rng.choice(HOSTS), path="/503")

    async def one(self, rng):
        """80 % to good targets, 10 % to dead ones, 10 % to flaky ones; a fifth of them POST."""
        kind = rng.choices(["good", "dead", "flaky"], [8, 1, 1])[0]
        hosts = {"good": HOSTS, "dead": [f"dead{rng.randrange(10**9)}.test"], "flaky": FLAKY}
        host = rng.choice(hosts[kind])
        counts = self.broken_at is not None
        self.found.requests += counts
        try:
            served = await self.ask(rng, host)
        except (OSError, TimeoutError):
            return
        if counts and kind == "good" and not served:
            self.found.failures += 1

    async def ask(self, rng, host):
        """Whether the target's answer came through."""
        client = self.here.client
        if rng.random() >= self.tunnels:
            method, data = ("POST", rng.randbytes(1000)) if rng.random() < 0.2 else ("GET", b"")
            answer = await client.send(method, host, data=data)
            return answer.status == 200 and answer.is_whole
        _, connection = await client.tunnel(host)
        if connection is None:
            return False
        reader, writer = connection
        try:
            writer.write(HELLO + b"\n")
            return bool(await asyncio.wait_for(reader.readline(), 30))
        finally:
            await close(writer)


async def search(binary, seed, kind, rate, bound, hides=0):
    """One broken exit, three good ones beside it."""
    rng = random.Random(f"{seed} {kind} {rate}")
    async with world(binary, random.Random(f"{seed} targets"), 4) as here:
        return await Search(here, kind, hides).run(rng, rate, bound)
