"""The gateway under test: a real `remora serve`, watched through its admin interface."""

import asyncio
import json
import os
import re
import socket
import subprocess
from pathlib import Path

from wire import body, close, read_head

CONFIG = """\
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"
storage = "memory"
shutdown_after = "1s"

[sticky]
mode = "domain"
ttl = "{ttl}m"

[timeouts]
connect = "2s"
head = "3s"
idle = "5s"
"""
OPENED = re.compile(r'^remora_breaker_transitions_total\{.*change="(?:opened|reopened)".*\} (\d+)', re.M)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Gateway:
    """`exits`: its proxies. Defaults of remora, but for short timeouts."""

    def __init__(self, binary, directory, exits, log=None, ttl=10):
        self.binary = binary
        self.directory = Path(directory)
        self.exits = exits
        # Of sessions, in minutes.
        self.ttl = ttl
        self.log = Path(log) if log else self.directory / "remora.log"
        self.process = None
        self.listen = self.admin = 0
        # (time, exit) of each opening of a breaker; the last requests of the exit before it, in words.
        self.openings = []
        self.stories = []
        self.states = {}
        self.watcher = None

    async def start(self):
        for _ in range(3):
            self.listen, self.admin = free_port(), free_port()
            text = CONFIG.format(listen=self.listen, admin=self.admin, ttl=self.ttl)
            text += "".join(f'\n[[proxy]]\nurl = "{exit.url}"\n' for exit in self.exits)
            config = self.directory / "remora.toml"
            config.write_text(text)
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [self.binary, "serve", "--config", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"RUST_LOG": "info,remora::history=debug"},
                )
            if await self.answers():
                self.watcher = asyncio.create_task(self.watch())
                return
            await self.stop()
        raise RuntimeError(f"remora does not start: {self.log.read_text(errors='replace')[-2000:]}")

    async def answers(self):
        """Waits until it serves; false where it has ended."""
        for _ in range(1200):
            if self.process.poll() is not None:
                return False
            try:
                await self.get("/healthz")
                return True
            except OSError:
                await asyncio.sleep(0.1)
        return False

    async def get(self, path):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
            head = await read_head(reader)
            if head is None:
                raise ConnectionError("no answer")
            parts = [part async for part in body(reader, head, until_close=True)]
            return b"".join(parts).decode()
        finally:
            await close(writer)

    async def watch(self):
        """Notes when a breaker opens."""
        exits = {exit.url: exit for exit in self.exits}
        while True:
            try:
                proxies = json.loads(await self.get("/proxies"))
            except (OSError, ValueError):
                proxies = []
            for proxy in proxies:
                exit = exits[proxy["url"].rstrip("/")]
                name, state = exit.name, proxy["breaker"]
                if state == "open" and self.states.get(name, "closed") == "closed":
                    self.openings.append((asyncio.get_running_loop().time(), name))
                    self.stories.append(f"breaker of {name} open; asked before: {', '.join(exit.recent)}")
                self.states[name] = state
            await asyncio.sleep(0.1)

    async def opened(self):
        """How often a breaker has opened, or opened again."""
        counted = sum(int(count) for count in OPENED.findall(await self.get("/metrics")))
        return max(counted, len(self.openings))

    async def stop(self):
        """By its own pid, and nothing else."""
        if self.watcher:
            self.watcher.cancel()
        if self.process is None:
            return
        self.process.terminate()
        for _ in range(150):
            if self.process.poll() is not None:
                return
            await asyncio.sleep(0.1)
        self.process.kill()
        self.process.wait()
