"""An exit that speaks SOCKS5 (RFC 1928), without authentication, names resolved by itself."""

import struct

from exits import Exit, relay
from network import Unreachable
from words import SOCKS


class SocksExit(Exit):
    scheme = "socks5h"

    def __init__(self, net, name):
        super().__init__(net, name, "socks")

    async def request(self, reader, writer):
        first = await reader.read(1)
        if not first:
            return False
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x00")
        self.asked += 1
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode("latin-1")
        else:
            host = (await reader.readexactly(16 if kind == 4 else 4)).hex()
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        self.recent.append(f"{host}:{port}")
        try:
            far = await self.until_left(reader, self.net.dial(self.name, host, port))
        except Unreachable as error:
            writer.write(bytes([5, SOCKS[error.args[0]], 0, 1, 0, 0, 0, 0, 0, 0]))
            await writer.drain()
            return False
        writer.write(bytes([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]))
        await relay((reader, writer), far)
        return False
