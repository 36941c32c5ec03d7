"""The mix of the traffic: every few seconds another act prevails, as the seed has it.

Bad traffic is 40 % in most moods: each act of bad.py as often as any other, and in most moods one of them is half of
it or more. A mood in which ends that nothing can be compared with prevail (POST to dead names, bodies that are cut)
has no flaky targets: a row of such ends with one witness among them opens a breaker under rule 13 too, a few times an
hour with 20 exits (attribution-simulation.md §2, §8), and a campaign that relies on luck proves nothing.
"""

import bad

GOOD = {"get": 45, "post": 20, "tunnel": 30, "long": 5}
LONG = {"get": 2, "post": 1, "tunnel": 2, "long": 95}


class Mood:
    def __init__(self, rng):
        self.name = rng.choice(["even", "compared", "compared", "dead", "uncompared", "long"])
        self.share = 0.4
        self.good = GOOD
        self.acts = dict.fromkeys(bad.COMPARED, 1.0) | dict.fromkeys(bad.UNCOMPARED, 0.5)
        if self.name == "compared":
            self.prevails(rng.choice(sorted(set(bad.COMPARED) - bad.FLAKY)))
        elif self.name == "dead":
            self.share = 0.6
            self.prevails(rng.choice(["get dead", "connect dead"]), 4)
        elif self.name == "uncompared":
            self.prevails(rng.choice(sorted(set(bad.UNCOMPARED) - bad.FLAKY)))
            self.acts = {name: weight for name, weight in self.acts.items() if name not in bad.FLAKY}
        elif self.name == "long":
            # Good tunnels of 12 s hide that they go well.
            self.share, self.good = 0.1, LONG
            self.prevails("connect dead", 2)

    def prevails(self, act, times=1):
        """One act as often as all others together, or `times` as often."""
        self.acts[act] = times * sum(self.acts.values())
        self.name = f"{self.name}: {act}"

    def draw(self, rng):
        """(whether it is good, which kind)"""
        if rng.random() < self.share:
            return False, rng.choices(list(self.acts), self.acts.values())[0]
        return True, rng.choices(list(self.good), self.good.values())[0]
