"""Good traffic: requests and tunnels to targets that work, and whether remora served them as it must."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from wire import close

HOSTS = [f"good{n}.test" for n in range(30)]
SESSIONS = [None, "a", "b", "c"]
# Clients begin new sessions after so many seconds.
EPOCH = 300


@dataclass
class Tally:
    """How good requests ended."""

    sent: int = 0
    served: int = 0
    # Answers of the gateway: it had no exit for the request, or the request failed on the way.
    refused: int = 0
    failed: int = 0
    moves: int = 0
    # Not remora's: the machine was too slow, or an exit of the campaign said it.
    excused: Counter = field(default_factory=Counter)
    # The first few that count, in words.
    examples: list = field(default_factory=list)

    def note(self, text):
        if len(self.examples) < 8:
            self.examples.append(text)


class Good:
    """Sends good requests. Ends during one of the `stalls` are not counted."""

    def __init__(self, client, stalls, hosts=HOSTS, sessions=SESSIONS):
        self.client = client
        self.stalls = stalls
        self.hosts = hosts
        self.sessions = sessions
        self.tally = Tally()
        # The exit of each session, and since when it was seen there.
        self.exits = {}

    async def one(self, rng, kind):
        """A request of a kind: `get`, `post`, `tunnel`, `long`."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        host, session = rng.choice(self.hosts), rng.choice(self.sessions)
        if session is not None:
            session = f"{session}{int(begin // EPOCH)}"
        self.tally.sent += 1
        try:
            if kind == "get":
                answer, exit_name = self.plain(await self.client.send("GET", host, session))
            elif kind == "post":
                data = rng.randbytes(rng.randrange(20_000))
                chunked = rng.random() < 0.5
                answer = await self.client.send("POST", host, session, data=data, is_chunked=chunked)
                answer, exit_name = self.plain(answer)
            else:
                answer, exit_name = await self.through(host, session, 12 if kind == "long" else 1)
        except (TimeoutError, OSError) as error:
            self.unanswered(begin, loop.time(), f"{kind} {host} {session}", error)
            return
        self.judge(begin, loop.time(), f"{kind} {host} {session}", answer, exit_name)
        if exit_name:
            self.place(begin, loop.time(), host, session, exit_name)

    def plain(self, answer):
        exit_name = answer.headers.get("x-exit") if answer.headers else None
        return answer, exit_name if answer.status == 200 and answer.is_whole else None

    async def through(self, host, session, lines):
        """A tunnel in which a line goes there and back each second."""
        answer, connection = await self.client.tunnel(host, session)
        if connection is None:
            return answer, None
        reader, writer = connection
        exit_name = None
        try:
            for number in range(lines):
                if number:
                    await asyncio.sleep(1)
                writer.write(b"hello\n")
                line = await asyncio.wait_for(reader.readline(), 90)
                if not line:
                    answer.is_whole = False
                    return answer, None
                exit_name = line.decode().strip()
        except ConnectionError:
            answer.is_whole = False
            return answer, None
        finally:
            await close(writer)
        return answer, exit_name

    def judge(self, begin, end, what, answer, exit_name):
        if exit_name:
            self.tally.served += 1
        elif self.stalls.overlap(begin, end):
            self.tally.excused["stalled"] += 1
        elif answer.status == 503 and answer.is_gateways:
            self.tally.refused += 1
            self.tally.note(f"{what}: 503 {answer.body[:90].decode(errors='replace').strip()}")
        elif answer.is_gateways or not answer.is_whole or answer.status == 200:
            self.tally.failed += 1
            why = answer.body[:90].decode(errors="replace").strip() if answer.is_gateways else "broken off"
            self.tally.note(f"{what}: {answer.status} {why}")
        else:
            # Neither the exits nor the good targets answer with anything else.
            self.tally.failed += 1
            self.tally.note(f"{what}: {answer.status} through an exit")

    def unanswered(self, begin, end, what, error):
        """The gateway did not answer, or closed the connection."""
        if self.stalls.overlap(begin, end):
            self.tally.excused["stalled"] += 1
        else:
            self.tally.failed += 1
            self.tally.note(f"{what}: {type(error).__name__}: {error}")

    def place(self, begin, end, host, session, exit_name):
        """Which exit served a request of a session: always the same one."""
        before, since = self.exits.get((host, session), (exit_name, begin))
        if before != exit_name:
            if self.stalls.overlap(since, end):
                self.tally.excused["moved in a stall"] += 1
            else:
                self.tally.moves += 1
                self.tally.note(f"session {session} of {host}: from {before} to {exit_name}")
        self.exits[host, session] = exit_name, begin
