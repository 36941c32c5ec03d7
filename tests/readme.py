#!/usr/bin/env python3
"""Runs the commands of README.md, or of the pages it is given, in order, as a reader would.

Every fenced block marked `sh` is run as a reader would paste it, one line right behind the other; a line that ends
in `&` runs in the background until the end (it is stopped by its pid). `make test` is the one command left out, because it is what runs this.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEFT_OUT = {"make test"}


def commands(text):
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.split("  #")[0].strip()
            if line and not line.startswith("#"):
                yield line


def run(line, background):
    """Runs one line; answers whether it went well."""
    print(f"$ {line}", flush=True)
    if line.endswith("&"):
        shell = ["bash", "-c", "exec " + line.rstrip("& ")]
        background.append(subprocess.Popen(shell, cwd=ROOT, start_new_session=True))
        return True
    return subprocess.run(["bash", "-c", line], cwd=ROOT).returncode == 0


def main(pages):
    failures = [page for page in pages or ["README.md"] if not run_page(page)]
    return 1 if failures else 0


def run_page(page):
    """Runs the commands of a page; answers whether all went well."""
    background, passed, failed = [], 0, []
    try:
        for line in commands((ROOT / page).read_text()):
            if line in LEFT_OUT:
                continue
            if run(line, background):
                passed += 1
            else:
                failed.append(line)
    finally:
        for process in background:
            if process.poll() is not None:
                failed.append(f"pid {process.pid} ended early with {process.returncode}")
                continue
            os.killpg(process.pid, signal.SIGTERM)
            if process.wait(timeout=60) != 0:
                failed.append(f"pid {process.pid} did not stop cleanly")
    for line in failed:
        print(f"FAILED: {line}")
    print(f"{page}: {passed} passed, {len(failed)} failed")
    return passed and not failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
