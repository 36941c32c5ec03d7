#!/usr/bin/env python3
"""Proves DESIGN rule 13 (attribution) on a real gateway, in both directions. Standard library only.

    run.py blame --seed 1 --minutes 3     no traffic opens the breaker of a working exit
    run.py attacks --seed 1               nor does an attack, and none hides a broken exit
    run.py reverse --seed 1               an exit that fails is out, in each way in which exits fail
    run.py short                          a bit of blame and reverse, for `make test`: 40 s

`blame` starts `remora serve` with exits of its own, working forward proxies (HTTP, SOCKS5), and names below `.test`
behind them. Targets and clients misbehave at random by seed (the list: bad.py, the mix: moods.py), beside good
traffic in sticky sessions. It exits with 1 unless of the good requests none was refused or failed, no breaker
opened, and no session on a good target moved: a good target sees by the connection which exit it was reached from.

`attacks`: five names of an attacker's own that fail through one exit only, in bursts, beside 10 and 100 good requests
a second; and a client that asks every target for a path that answers 503, beside an exit that is broken.

`reverse`: a table, kind of broken exit x requests a second, of how soon its breaker opened and how many failures
clients saw until then, beside the numbers of the simulation (attribution-simulation.md).

Another binary: --remora PATH. The gateway's log, with the history of every lease: --log PATH (`blame`).

Only answers of the gateway count. Failures around a time at which this process did not get the processor for half a
second are listed as `not counted`. Seeds repeat the traffic, not its timing.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from attacks import attacks
from blame import campaign
from reverse import reverse
from world import POOLS

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["blame", "attacks", "reverse", "short"], help="one or several")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=3, help="of each run of blame")
    parser.add_argument("--rate", type=float, default=30, help="requests a second, of blame")
    parser.add_argument("--exits", default="4", help="how many exits, of blame: 4, or 1,4,20 for a run each")
    parser.add_argument("--pool", choices=POOLS, default="usual", help="software of the exits, of blame")
    parser.add_argument("--kinds", default="", help="kinds of broken exits, of reverse; all unless given")
    parser.add_argument("--rates", default="1,100", help="requests a second, of reverse")
    parser.add_argument("--bound", type=float, default=120, help="seconds that an exit has until it must be out")
    parser.add_argument("--seconds", type=float, default=40, help="of each attack by bursts")
    parser.add_argument("--remora", default=str(ROOT / "target/debug/remora"))
    parser.add_argument("--log", help="where the gateway's log is to stay")
    return parser.parse_args()


async def run(what, args):
    # SIGTERM ends it as ^C does: the gateway is stopped, its directory removed.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    counts = [int(count) for count in args.exits.split(",")]
    rates = [float(rate) for rate in args.rates.split(",")]
    kinds = [kind for kind in args.kinds.split(",") if kind]
    if what == "blame":
        return await campaign(args.remora, args.seed, args.minutes * 60, args.rate, counts, args.pool, args.log)
    if what == "attacks":
        return await attacks(args.remora, args.seed, args.seconds, args.bound)
    if what == "reverse":
        return await reverse(args.remora, args.seed, kinds, rates, args.bound)
    holds = await campaign(args.remora, args.seed, 15, args.rate, [4], args.pool, args.log, mood_seconds=5)
    return await reverse(args.remora, args.seed, ["refuses", "502"], [50.0], args.bound, together=50) and holds


def main():
    args = arguments()
    if not Path(args.remora).is_file():
        sys.exit(f"{args.remora}: not there; fix: cargo build --package remora")
    try:
        # All of them, also where one fails.
        hold = [asyncio.run(run(what, args)) for what in args.what]
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130
    return 0 if all(hold) else 1


if __name__ == "__main__":
    sys.exit(main())
