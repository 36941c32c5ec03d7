"""Times at which this process did not get the processor: failures then prove nothing about remora."""

import asyncio

# The shortest timeout of the gateway is 2 s; two or three late turns in a row make one.
LATE = 0.5


class Stalls:
    def __init__(self):
        self.spans = []
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.watch())

    def stop(self):
        self.task.cancel()

    async def watch(self):
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.1)
            if (now := loop.time()) - before > 0.1 + LATE:
                self.spans.append((before, now))

    def overlap(self, begin, end):
        return any(start < end and begin < stop for start, stop in self.spans)

    @property
    def total(self):
        return sum(stop - start for start, stop in self.spans)
