# SPDX-License-Identifier: BSD-2-Clause
"""Application servers on xtcpd, in Python.

    import asyncio, xtcp

    async def main():
        async with await xtcp.dial(5222) as backend:
            async for event in backend:
                match event:
                    case xtcp.Data(conn, data):
                        conn.reply(data, ackd=len(data))
                    case xtcp.Eof(conn):
                        conn.close()

    asyncio.run(main())

A request is acknowledged to the client when `ackd` says that it was processed,
and not before: of a process that dies, the next one gets all that was not.
The protocol is xtcp-frame(7), and the same as that of libxtcp(3).
"""

from .backend import Backend, attach_address, dial, listen, parse_address
from .conn import Conn, Data, Drain, Eof, Event, Open, Reset, SlowClient
from .frames import FrameError
from .link import Refused

__version__ = "0.1.0"

__all__ = [
    "Backend", "Conn", "Data", "Drain", "Eof", "Event", "FrameError", "Open",
    "Refused", "Reset", "SlowClient", "attach_address", "dial", "listen",
    "parse_address",
]
