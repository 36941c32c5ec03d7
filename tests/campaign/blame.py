"""The campaign: working exits, misbehaving targets and clients, good traffic beside them. Nothing may follow for the
exits, the good requests and their sessions."""

import random

from bad import Bad
from moods import Mood
from table import table
from world import arrivals, progress, world

MOOD_SECONDS = 10


async def blame(binary, seed, seconds, rate, count, pool, log=None, mood_seconds=MOOD_SECONDS):
    """One run; answers a row of the table and whether it holds."""
    # Each has its own, so that a seed means the same traffic however it is served.
    rng, moods, targets = (random.Random(f"{seed} {count} {use}") for use in ["traffic", "moods", "targets"])
    # 10 minutes, or longer than the run: no session moves because it has expired.
    ttl = max(10, int(seconds / 60) + 5)
    async with world(binary, targets, count, pool, log, ttl) as here:
        bad = Bad(here.client)
        mood, shown, since = Mood(moods), 0.0, 0.0
        names = ", ".join(exit.name for exit in here.exits[:4])
        progress(f"blame: seed {seed}, {count} exits ({names} …), {rate:g}/s, {seconds:.0f} s")
        async for now in arrivals(rng, rate, seconds):
            if now - since >= mood_seconds:
                mood, since = Mood(moods), since + mood_seconds
            own = random.Random(rng.getrandbits(64))
            is_good, kind = mood.draw(rng)
            here.spawn(here.good.one(own, kind) if is_good else bad.act(own, kind))
            if now - shown >= 5:
                shown = now
                await show(here, now, mood)
        await here.rest()
        return await verdict(here, seed, count)


async def show(here, now, mood):
    tally = here.good.tally
    progress(
        f"  {now:4.0f} s  good {tally.sent:6} refused {tally.refused:4} failed {tally.failed:4}  "
        f"opened {await here.gateway.opened():3}  moves {tally.moves:4}  attempts {here.attempts:.2f}  [{mood.name}]"
    )


async def verdict(here, seed, count):
    tally, opened = here.good.tally, await here.gateway.opened()
    excused = [when for when, _ in here.gateway.openings if here.stalls.overlap(when - 5, when)]
    if opened and len(excused) == opened:
        tally.excused["opened in a stall"], opened = opened, 0
    # A campaign in which nothing got through shows nothing.
    holds = not (tally.refused or tally.failed or tally.moves or opened) and tally.served > tally.sent * 0.9
    if not holds:
        print("\n".join(["", *here.good.tally.examples, *here.gateway.stories[:8]]))
    excuses = ", ".join(f"{why} {n}" for why, n in tally.excused.items()) or "-"
    counts = [here.client.requests, tally.sent, tally.refused, tally.failed, opened, tally.moves]
    return holds, [seed, count, *counts, f"{here.attempts:.2f}", excuses, "holds" if holds else "FAILS"]


COUNTS = ["requests", "good", "refused", "failed", "opened", "moves"]
HEAD = ["seed", "exits", *COUNTS, "attempts/request", "not counted", ""]


async def campaign(binary, seed, seconds, rate, counts, *how, **also):
    """A run for each number of exits."""
    results = [await blame(binary, seed, seconds, rate, count, *how, **also) for count in counts]
    print()
    print("Blame: good requests refused or failed, breakers opened, moves of sessions on good targets")
    print(table(HEAD, [row for _, row in results]))
    return all(holds for holds, _ in results)
