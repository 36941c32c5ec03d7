"""The other direction: an exit that fails is out. A table of how soon, beside the simulation."""

import asyncio

from faults import FAULTS
from search import search
from table import table
from world import progress

# attribution-simulation.md, K (sections 3 and "Found after"): seconds until it is out, failures that clients saw; `%`:
# of the good requests of a whole run, where it says no more.
SIMULATION = {
    ("refuses", 1): "0.008 %",
    ("refuses", 100): "0.020 %",
    ("hangs", 1): "32 s",
    ("hangs", 100): "11 s",
    ("502", 1): "19 s, 0 seen",
    ("502", 100): "1.4 s, 5 seen",
    ("502 to half", 1): "1.23 %",
    ("502 to half", 100): "0.12 %",
    ("cuts bodies", 1): "70 s, 12 seen",
    ("cuts bodies", 100): "1.5 s, 23 seen",
}
# Ends that cannot be compared need targets that are asked again, and half-broken exits luck.
MAY_TAKE_LONG = {("502 to half", 1), ("502 to half", 100), ("cuts bodies", 1), ("closes tunnels", 1)}


async def reverse(binary, seed, kinds, rates, bound, together=2):
    """All cells; whether each kind is found that has to be. Those of up to `together` requests a second run at once."""
    kinds = kinds or list(FAULTS)
    found = {}

    async def cell(kind, rate):
        found[kind, rate] = await search(binary, seed, kind, rate, bound)
        progress(f"reverse: {kind} at {rate:g}/s: {found[kind, rate]}")

    for rate in rates:
        progress(f"reverse: {', '.join(kinds)} at {rate:g}/s")
        if rate <= together:
            await asyncio.gather(*(cell(kind, rate) for kind in kinds))
        else:
            for kind in kinds:
                await cell(kind, rate)
    rows = []
    all_hold = True
    for kind in kinds:
        for rate in rates:
            row, holds = judge(kind, rate, found[kind, rate], bound)
            rows.append(row)
            all_hold &= holds
    print()
    print("Reverse: one broken exit beside three good ones, until its breaker opens")
    print(table(["exit", "rate", "requests", "seconds", "failures seen", "others opened", "simulation", ""], rows))
    return all_hold


def judge(kind, rate, found, bound):
    is_out = found.seconds is not None
    holds = (is_out or (kind, rate) in MAY_TAKE_LONG) and not found.others
    seconds = f"{found.seconds:.1f}" if is_out else f"not within {bound:.0f} s"
    row = [kind, f"{rate:g}/s", found.requests, seconds, found.failures, found.others]
    verdict = "holds" if is_out else "in, as may be"
    return [*row, SIMULATION.get((kind, rate), "-"), verdict if holds else "FAILS"], holds
