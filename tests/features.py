#!/usr/bin/env python3
"""Says whether wasmtime is built once for all that people and CI do.

Cargo builds a crate anew for every set of features that a command asks of it or of anything below it, and wasmtime
takes minutes. What differs is said crate by crate, and is made the same in host/artifacts/Cargo.toml.
"""

import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ["test", "--workspace", "--exclude", "remora-component", "--no-run"]
OTHERS = [
    ["build", "--package", "remora"],
    ["build", "--package", "remora-host", "--example", "crawler"],
]


def units(command):
    """What a command builds: by a hash of itself and all below it, what it is."""
    # The list of units is not stable cargo's yet; it is asked for nothing else.
    asked = ["cargo", *command, "--unit-graph", "-Z", "unstable-options"]
    done = subprocess.run(
        asked, cwd=ROOT, env=os.environ | {"RUSTC_BOOTSTRAP": "1"}, stdout=subprocess.PIPE, check=True
    )
    listed = json.loads(done.stdout)["units"]

    @functools.cache
    def named(index):
        unit = listed[index]
        # `test` is `dev` under another name.
        profile = {key: value for key, value in unit["profile"].items() if key != "name"}
        own = [unit["pkg_id"], unit["target"], profile, unit["platform"], unit["mode"], unit["features"]]
        below = sorted(named(unit_below["index"]) for unit_below in unit["dependencies"])
        return hashlib.sha256(json.dumps([own, below], sort_keys=True).encode()).hexdigest()

    def below(index):
        return [named(unit["index"]) for unit in listed[index]["dependencies"]]

    return {named(i): (unit, below(i)) for i, unit in enumerate(listed)}


def is_wasmtime(unit):
    return "#wasmtime@" in unit["pkg_id"] and unit["mode"] == "build" and "lib" in unit["target"]["kind"]


def main():
    tests = units(TESTS)
    differ = False
    for command in OTHERS:
        found = units(command)
        again = [name for name, (unit, _) in found.items() if is_wasmtime(unit) and name not in tests]
        if not again:
            continue
        differ = True
        print(f"`cargo {' '.join(command)}` builds wasmtime again, because of:")
        seen = set()
        while again:
            name = again.pop()
            unit, below = found[name]
            deeper = [other for other in below if other not in tests and other not in seen]
            seen.update(deeper)
            again.extend(deeper)
            if all(other in tests for other in below):
                features = ", ".join(unit["features"])
                print(f"  {unit['pkg_id'].rsplit('#')[-1]} with [{features}], or something it needs with others")
    return differ


sys.exit(main())
