"""Two attacks. Targets that fail through one exit only, in bursts: its breaker must not open. A client that makes each
target look broken: a broken exit must be out nevertheless."""

import asyncio
import random

from search import search
from table import table
from world import arrivals, progress, world

NAMES = 5
EXITS = 4
# Eight requests for each exit and burst, as in the simulation; rows of strikes end with the good requests between.
BURST = 8 * EXITS
BURST_EVERY = 6
# A burst that this machine stretches to longer is a drip, which is another attack (simulation, §6).
LONGEST_BURST = 0.7


async def burst(here, rng, name):
    """Requests of as many sessions at once, so that a share of them goes to each exit first."""
    targets = here.targets
    before = len(targets.picked)

    async def one(number):
        method = rng.choice(["GET", "GET", "GET", "POST"])
        host = f"picky{name}-{number % NAMES}.test"
        await here.client.send(method, host, f"evil{rng.getrandbits(32)}", data=b"x" * 100 if method == "POST" else b"")

    await asyncio.gather(*(one(number) for number in range(BURST)), return_exceptions=True)
    times = targets.picked[before:]
    return max(times) - min(times) if times else 0.0


async def bursts(binary, seed, rate, seconds):
    """Good traffic, and the attack on one exit beside it."""
    rng = random.Random(f"{seed} bursts {rate}")
    async with world(binary, random.Random(f"{seed} targets"), EXITS) as here:
        here.targets.victim = rng.choice(here.exits).name
        spans = []

        async def attack():
            while True:
                await asyncio.sleep(BURST_EVERY * rng.uniform(0.5, 1))
                began = asyncio.get_running_loop().time()
                spans.append((began, await burst(here, rng, seed)))

        attacker = asyncio.create_task(attack())
        shown = 0.0
        async for now in arrivals(rng, rate, seconds):
            own = random.Random(rng.getrandbits(64))
            here.spawn(here.good.one(own, own.choices(["get", "post", "tunnel"], [5, 2, 3])[0]))
            if now - shown >= 5:
                shown = now
                tally = here.good.tally
                counts = f"good {tally.sent:6} refused {tally.refused:4} failed {tally.failed:4}"
                progress(f"  {now:4.0f} s  bursts {len(spans):3}  {counts}  opened {await here.gateway.opened():3}")
        attacker.cancel()
        await here.rest()
        tally, opened = here.good.tally, await here.gateway.opened()
        slow = [when for when, span in spans if span > LONGEST_BURST]
        excused = [when for when, _ in here.gateway.openings if any(0 <= when - began < BURST_EVERY for began in slow)]
        note = f"{len(slow)} bursts took longer than {LONGEST_BURST} s" if slow else ""
        if opened and len(excused) == opened:
            note, opened = f"{note}, {opened} opened then: not counted", 0
        failing = len(here.targets.picked)
        # Nothing is shown by an attack that did not take place, or beside which nothing got through.
        took_place = failing and len(slow) < len(spans) and tally.served > tally.sent * 0.9
        holds = took_place and not (opened or tally.refused or tally.failed or tally.moves)
        if not holds:
            print("\n".join(["", *tally.examples, *here.gateway.stories[:8]]))
        counts = f"{len(spans)} bursts, {failing} ends through {here.targets.victim}, {tally.sent} good requests"
        result = f"opened {opened}, refused {tally.refused}, failed {tally.failed}, moves {tally.moves}"
        return holds, [f"own names, {rate:g}/s beside", counts, result, note, "holds" if holds else "FAILS"]


async def hiding(binary, seed, kind, rate, bound):
    """A broken exit, and as many requests for 503 paths as there are others."""
    found = await search(binary, seed, kind, rate, bound, hides=1)
    holds = found.seconds is not None and not found.others
    counts = f"{found.requests} good and as many for /503"
    out = f"out after {found.seconds:.1f} s" if found.seconds is not None else f"not within {bound:.0f} s"
    result = f"{out}, {found.failures} failures seen, others opened {found.others}"
    return holds, [f"hide an exit: {kind}, {rate:g}/s", counts, result, "", "holds" if holds else "FAILS"]


async def attacks(binary, seed, seconds, bound):
    results = []
    for rate in [10.0, 100.0]:
        progress(f"attacks: bursts beside {rate:g}/s")
        results.append(await bursts(binary, seed, rate, seconds))
    for kind in ["502", "cuts bodies"]:
        progress(f"attacks: hiding an exit: {kind}")
        results.append(await hiding(binary, seed, kind, 20.0, bound))
    print()
    print("Attacks")
    print(table(["attack", "of", "result", "note", ""], [row for _, row in results]))
    return all(holds for holds, _ in results)
