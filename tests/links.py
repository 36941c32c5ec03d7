#!/usr/bin/env python3
"""Checks that every relative link of the project's Markdown files leads to a file, a folder or a heading.

    tests/links.py

`make lint` runs it. Links in fenced code are not links.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def pages():
    """The Markdown files that git knows, or will know."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [page for page in map(ROOT.joinpath, listed.splitlines()) if page.exists()]


def text(page):
    return FENCE.sub("", page.read_text())


def anchors(page):
    """The anchors of a page's headings, as GitHub names them."""
    found = set()
    for heading in HEADING.findall(text(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number, anchor = 0, name
        while anchor in found:
            number += 1
            anchor = f"{name}-{number}"
        found.add(anchor)
    return found


def broken(page):
    for match in LINK.finditer(text(page)):
        link = match[1] or match[2]
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield link, "no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield link, "no such heading"


def main():
    wrong = [(page, *found) for page in pages() for found in broken(page)]
    for page, link, why in wrong:
        print(f"{page.relative_to(ROOT)}: {link}: {why}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
