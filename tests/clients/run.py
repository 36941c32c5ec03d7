#!/usr/bin/env python3
"""Real HTTP clients that keep their connections, through real tunnels, over the end of a session.

    tests/clients/run.py                 all of them (`make test-clients` installs them first)
    tests/clients/run.py httpx-h2 go     those

Each asks with one kept connection (timeline.py): twice within a session of 4 s, right after its end, and then for a page that the
origin thinks about for 5 s, while the second session ends. After each end it must come by another tunnel, so that it gets the exit of
the new session, and it must lose nothing. (The exit of a new session is another one while the old session is on record.)
Three tinyproxies with an address of their own each, nginx as the origin (TLS, HTTP/2), `remora serve` between them.
"""

import argparse
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "clients"
PYTHON = TARGET / "venv/bin/python"
HOST = "127.0.1.1"
EXITS = [f"127.0.0.{last}" for last in (11, 12, 13)]
# What a client cannot do, with the words that say it: that alone is expected of it, and it passes no other way.
GAPS = {
    "httpx-h2": "RemoteProtocolError: Server disconnected",  # It does not look whether an HTTP/2 connection was closed.
}
PATIENCE = 90  # seconds that a client may take

CLIENTS = {
    **{
        name: [PYTHON, HERE / "python_clients.py", name]
        for name in ("requests", "httpx-h1", "httpx-h2", "aiohttp", "curl_cffi", "scrapy", "chromium")
    },
    "go": [TARGET / "go-client"],
    "https-proxy-agent": ["node", HERE / "node_client.mjs"],
}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port, host="127.0.0.1"):
    for _ in range(200):
        try:
            socket.create_connection((host, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"no server listens on {host}:{port}")


class Thinker(http.server.BaseHTTPRequestHandler):
    """Behind nginx: answers with the exit's address, for `/think/N` after N seconds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/think/"):
            time.sleep(float(self.path.rsplit("/", 1)[1]))
        body = self.headers["x-exit"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except BrokenPipeError:
            pass  # The client has left: what that means, it says itself.

    def log_message(self, *_):
        pass


class World:
    """What the clients talk to; every process is stopped by its pid."""

    def __init__(self, directory, remora):
        self.directory, self.processes = Path(directory), []
        self.ca = self.directory / "cert.pem"
        self.origin, self.gateway = free_port(), free_port()
        self.start_origin()
        ports = [self.start_exit(address) for address in EXITS]
        config = self.directory / "remora.toml"
        proxies = "".join(f'[[proxy]]\nurl = "http://127.0.0.1:{port}"\n' for port in ports)
        config.write_text(f'listen = "127.0.0.1:{self.gateway}"\n[sticky]\nttl = "4s"\n{proxies}')
        self.spawn([remora, "serve", "--config", config], "remora.log")
        wait_for(self.gateway)

    def spawn(self, command, log):
        out = open(self.directory / log, "wb")
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=out, cwd=self.directory, env=with_sbin()
        )
        self.processes.append(process)

    def start_origin(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=origin",
             "-addext", f"subjectAltName=IP:{HOST}", "-keyout", self.directory / "key.pem", "-out", self.ca],
            check=True, capture_output=True,
        )  # fmt: skip
        thinker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Thinker)
        threading.Thread(target=thinker.serve_forever, daemon=True).start()
        config = self.directory / "nginx.conf"
        config.write_text(
            f"""daemon off; pid {self.directory}/nginx.pid; worker_processes 1; error_log stderr;
            events {{ worker_connections 256; }}
            http {{ access_log off; client_body_temp_path {self.directory}/b; proxy_temp_path {self.directory}/p;
              server {{ listen {HOST}:{self.origin} ssl http2; ssl_certificate {self.ca};
                ssl_certificate_key {self.directory}/key.pem; keepalive_timeout 300s;
                location / {{ proxy_pass http://127.0.0.1:{thinker.server_port}; proxy_http_version 1.1;
                  proxy_set_header Connection ""; proxy_set_header x-exit "$remote_addr $connection"; }} }} }}"""
        )
        self.spawn(["nginx", "-c", config, "-e", "stderr"], "nginx.log")
        wait_for(self.origin, HOST)

    def start_exit(self, address):
        port = free_port()
        config = self.directory / f"tinyproxy-{port}.conf"
        config.write_text(f"Port {port}\nListen 127.0.0.1\nBind {address}\nTimeout 600\nMaxClients 200\n")
        self.spawn(["tinyproxy", "-d", "-c", config], f"tinyproxy-{port}.log")
        wait_for(port)
        return port

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def with_sbin():
    return os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"}


def verdict(said):
    """What is wrong with what a client saw; empty: nothing."""
    if said["errors"]:
        return "; ".join(said["errors"])
    exits = [seen.split(" ")[0] for seen in said["exits"]]
    if strange := [exit for exit in exits if exit not in EXITS]:
        return f"{strange[0]!r} is no exit"
    first, again, after, thought, last = said["exits"]
    wrong = []
    if exits[0] != exits[1]:
        wrong.append("not one exit within the session")
    if after == again:
        wrong.append("the tunnel of the ended session")
    if exits[3] != exits[2]:
        wrong.append("the request under way left by another exit")
    if last in (after, thought):
        wrong.append("the tunnel of the second ended session")
    return ", ".join(wrong)


def ask(name, world):
    arguments = [f"http://127.0.0.1:{world.gateway}", f"https://{HOST}:{world.origin}", str(world.ca)]
    command = [str(part) for part in CLIENTS[name]] + arguments
    env = with_sbin() | {"NODE_PATH": str(TARGET / "node_modules"), "REMORA_CLIENTS": str(TARGET)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env)
    except subprocess.TimeoutExpired:
        return {"exits": [None] * 5, "errors": [f"not done within {PATIENCE} s"]}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"exits": [None] * 5, "errors": [(done.stderr.strip() or "it said nothing")[-300:]]}
    return json.loads(lines[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", help=", ".join(CLIENTS))
    parser.add_argument("--log", help="where the gateway's log is to stay")
    parser.add_argument("--remora", default=ROOT / "target/debug/remora")
    args = parser.parse_args()
    names = args.clients or list(CLIENTS)
    if unknown := set(names) - set(CLIENTS):
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    if not shutil.which("tinyproxy", path=with_sbin()["PATH"]):
        sys.exit("tinyproxy is not installed; fix: make parts")
    failed = gaps = 0
    print(f"{'client':<18} within a session   after it     5 s across its end   after that   verdict")
    with tempfile.TemporaryDirectory() as directory:
        world = World(directory, Path(args.remora).resolve())
        try:
            for name in names:
                said = ask(name, world)
                wrong = verdict(said)
                if name in GAPS and said["errors"] and all(GAPS[name] in error for error in said["errors"]):
                    gaps, wrong = gaps + 1, f"known gap: {GAPS[name]}"
                else:
                    failed += bool(wrong)
                shown = (str(seen).split(" ")[0].removeprefix("127.0.0.") for seen in said["exits"])
                first, again, after, thought, last = shown
                print(f"{name:<18} {first + ', ' + again:<18} {after:<12} {thought:<20} {last:<12} {wrong or 'good'}", flush=True)
        finally:
            world.stop()
            if args.log:
                shutil.copy(world.directory / "remora.log", args.log)
    print(f"{len(names) - failed - gaps} passed, {failed} failed, {gaps} with a known gap")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
