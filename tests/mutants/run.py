#!/usr/bin/env python3
"""Plants the mutants of mutants.toml in a copy of guest/core, guest/http and guest/envoy, one at a time, and requires
that each is caught by the tests named for it.

    tests/mutants/run.py            all of them
    tests/mutants/run.py 7 fence    those of rule 7, and those whose name contains "fence"

A mutant that survives fails the run. So does one that cannot be planted or does not compile, since
nothing is shown by it. There is a copy for each processor. Copies and their builds live below the target directory, so
that a mutant costs one small rebuild.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutants"
COPIES = min(os.cpu_count() or 1, 4)
# The test binaries of each crate; `lib`: the tests beside the code.
BINARIES = {"core": ["lib", "rules", "model", "schedules"], "http": ["lib"], "envoy": ["race"]}
# What is copied: these and the crates that they need.
CRATES = [*BINARIES, "config"]
PATIENCE = 180  # seconds that one step may take, a hang included
CARGO = ["cargo", "test", "--offline", "--quiet", "--all-features"]
ENV = os.environ | {
    "CARGO_PROFILE_DEV_DEBUG": "0",
    # A failing case is enough; nobody reads the smallest one here.
    "PROPTEST_MAX_SHRINK_ITERS": "0",
    "RUST_BACKTRACE": "0",
    "RUSTFLAGS": "--cap-lints=allow",
}


class Unusable(Exception):
    """The harness, not the tests, is at fault."""


class Workspace:
    """A copy with nothing in it but these crates, under the same dependencies and profiles, and its build."""

    def __init__(self, number):
        self.target = TARGET / f"copy-{number}"
        self.root = self.target / "workspace"

    def make(self):
        shutil.rmtree(self.root, ignore_errors=True)
        for crate in CRATES:
            # Fresh time stamps: cargo must never take the build of an old mutant for the build of this copy.
            copy = self.root / "guest" / crate
            shutil.copytree(ROOT / "guest" / crate, copy, copy_function=shutil.copyfile)
        shutil.copyfile(ROOT / "Cargo.lock", self.root / "Cargo.lock")
        members = "members = [" + ", ".join(f'"guest/{crate}"' for crate in CRATES) + "]"
        manifest = (ROOT / "Cargo.toml").read_text()
        manifest = re.sub(r"(?ms)^default-members = \[.*?\]\n", "", manifest)
        manifest, found = re.subn(r"(?ms)^members = \[.*?\]", members, manifest)
        if found != 1:
            raise Unusable("no list of members in Cargo.toml")
        (self.root / "Cargo.toml").write_text(manifest)
        # The suite of every storage comes with the library, and that with wasmtime: too much to build for a mutant.
        envoy = self.root / "guest" / "envoy"
        manifest = (envoy / "Cargo.toml").read_text()
        manifest, found = re.subn(r"(?m)^remora-host\..*\n", "", manifest)
        if found != 1:
            raise Unusable("no dependency on remora-host in guest/envoy/Cargo.toml")
        (envoy / "Cargo.toml").write_text(manifest)

    def cargo(self, arguments, what):
        # A session of its own: a test that hangs has to end as well, not only the cargo that waits for it.
        process = subprocess.Popen(
            CARGO + arguments,
            cwd=self.root,
            env=ENV | {"CARGO_TARGET_DIR": str(self.target)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE if what else None)
        except subprocess.TimeoutExpired:
            raise Unusable(f"{what} took more than {PATIENCE} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def build(self, crate, binaries, what):
        tests = [argument for binary in binaries for argument in selected(binary)]
        built = self.cargo(["-p", f"remora-{crate}", "--no-run", *tests], what)
        if built.returncode != 0:
            errors = [line for line in built.stdout.splitlines() if line.startswith("error")]
            raise Unusable("does not compile: " + "; ".join(errors[:3]))

    def failing(self, crate, test, what):
        """The names of the tests that fail; `test` is a binary and an optional filter."""
        binary, *filters = test.split()
        run = self.cargo(["-p", f"remora-{crate}", *selected(binary), "--", "--format=pretty", *filters], what)
        failed = re.findall(r"(?m)^test (\S+) \.\.\. FAILED$", run.stdout)
        ran = re.findall(r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed", run.stdout)
        if not ran or ran[-1] == ("0", "0"):
            raise Unusable(f"no tests ran for `{test}`:\n{run.stdout[-2000:]}")
        return failed

    def plant(self, mutant):
        """Plants a mutant; answers with the file and its text before."""
        file = self.root / "guest" / crate_of(mutant) / "src" / mutant["file"]
        text = file.read_text()
        found = text.count(mutant["find"])
        if found != 1:
            raise Unusable(f"`find` is {found} times in {mutant['file']}")
        file.write_text(text.replace(mutant["find"], mutant["replace"]))
        return file, text

    def catch(self, mutant):
        """The names of the tests that catch a mutant."""
        file, text = self.plant(mutant)
        try:
            self.build(crate_of(mutant), [mutant["test"].split()[0]], "the build")
            return self.failing(crate_of(mutant), mutant["test"], "the test")
        finally:
            file.write_text(text)


def selected(binary):
    return ["--lib"] if binary == "lib" else ["--test", binary]


def crate_of(mutant):
    """The crate that it is planted in."""
    return mutant.get("crate", "core")


def verdict(mutant, free):
    """What came of a mutant, in a copy that is free; whether it was caught."""
    workspace = free.get()
    binary = mutant["test"].split()[0]
    try:
        caught = workspace.catch(mutant)
    except Unusable as error:
        return f"UNUSABLE: {error}", False
    finally:
        free.put(workspace)
    more = f" and {len(caught) - 1} more" if len(caught) > 1 else ""
    return (f"{binary}: {caught[0]}{more}", True) if caught else ("NOT CAUGHT", False)


def wanted(mutant, arguments):
    asked = [str(mutant["rule"]) == a or a in mutant["name"] for a in arguments if a]
    return not asked or any(asked)


def main():
    begin = time.monotonic()
    table = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    mutants = [mutant for mutant in table if wanted(mutant, sys.argv[1:])]
    missing = set(range(1, 14)) - {mutant["rule"] for mutant in table}
    if missing:
        sys.exit(f"no mutant for rule {sorted(missing)}")

    free = Queue()
    try:
        first = Workspace(0)
        first.make()
        for crate, binaries in BINARIES.items():
            first.build(crate, binaries, None)
            for binary in binaries:
                if failed := first.failing(crate, binary, "the test"):
                    sys.exit(f"without any mutant these fail: {', '.join(failed)}")
        free.put(first)
        for number in range(1, COPIES):
            workspace = Workspace(number)
            # The dependencies are built.
            shutil.copytree(first.target, workspace.target, dirs_exist_ok=True)
            workspace.make()
            free.put(workspace)
    except Unusable as error:
        sys.exit(f"without any mutant: {error}")
    print(f"without a mutant every test passes ({time.monotonic() - begin:.0f} s)\n")

    width = max(len(mutant["name"]) for mutant in mutants)
    print(f"{'rule':>4}  {'mutant':<{width}}  caught by")
    print(f"{'-' * 4}  {'-' * width}  {'-' * 40}")
    failures = 0
    with ThreadPoolExecutor(COPIES) as pool:
        verdicts = pool.map(lambda mutant: verdict(mutant, free), mutants)
        for mutant, (text, is_caught) in zip(mutants, verdicts):
            failures += not is_caught
            print(f"{mutant['rule']:>4}  {mutant['name']:<{width}}  {text}", flush=True)

    print(f"\n{len(mutants) - failures} passed, {failures} failed ({time.monotonic() - begin:.0f} s)")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
