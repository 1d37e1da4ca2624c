# SPDX-License-Identifier: BSD-2-Clause
"""The connections of a backend, over all its links, and their events."""

from __future__ import annotations

import enum
import errno
import os
from asyncio import Future, get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Callable

from . import frames
from .conn import BUFFER_BYTES, Conn, Event

if TYPE_CHECKING:
    from .link import Link

# Payload bytes that xtcpd may send us on a stream before we grant more.
CREDIT_BYTES = 4 * 1024 * 1024


class State(enum.Enum):
    DOWN = 0
    HELLO = 1
    ATTACH = 2
    UP = 3


class Core:
    """The connections of one backend, and what is to be told of them.

    on_output(link): link has something to take(); on_events(): next_event()
    has something; on_workers(worker count): more links are wanted, or some went.
    """

    def __init__(self, port: int = 0, family: int = 0, pool_bytes: int = 0,
                 name: str = "", buffer_bytes: int = BUFFER_BYTES,
                 credit_bytes: int = CREDIT_BYTES, listens: bool = False
                 ) -> None:
        if credit_bytes < frames.PAYLOAD_MIN:
            raise ValueError(f"credit_bytes is under {frames.PAYLOAD_MIN}")
        if buffer_bytes < 1:
            raise ValueError("buffer_bytes is under 1")
        self.port = port
        self.family = family
        self.pool_bytes = pool_bytes
        self.name = name.encode()
        self.buffer_bytes = buffer_bytes
        self.credit_bytes = credit_bytes
        self.listens = listens
        self.instance = int.from_bytes(os.urandom(8), "big")
        self.conns: dict[int, Conn] = {}
        self.links: list[Link] = []
        self.workers = 0
        self.ready: deque[Conn | Event] = deque()
        self._room_waiters: dict[Conn, set[Future[None]]] = {}
        self.on_output: Callable[[Link], None] = lambda link: None
        self.on_events: Callable[[], None] = lambda: None
        self.on_workers: Callable[[int], None] = lambda workers: None

    def next_event(self) -> Event | None:
        """The next event, in turn over the connections; None: there is none."""
        while self.ready:
            c = self.ready.popleft()
            if not isinstance(c, Conn):
                return c
            c._queued = False
            event = c._next_event()
            self.tell(c)
            if event is not None:
                return event
        return None

    def tell(self, c: Conn) -> None:
        """c is in ready from now on if it has something to tell."""
        if c._has_event() and not c._queued:
            c._queued = True
            self.ready.append(c)
            self.on_events()

    def lose(self, c: Conn, number: int = errno.ECONNRESET) -> None:
        """The connection is gone at the other side."""
        self.conns.pop(c.id, None)
        c._gone = True
        c._unsent.clear()
        c._unsent_bytes = 0
        c._drop_rx()
        c._link.unwant(c)
        if c._known:
            c._reset_due = number or errno.ECONNRESET
            self.tell(c)
        self.wake_room(c)

    async def wait_room(self, c: Conn) -> None:
        """Until wake_room(): the caller looks again then."""
        future: Future[None] = get_running_loop().create_future()
        self._room_waiters.setdefault(c, set()).add(future)
        try:
            await future
        finally:
            self._room_waiters.get(c, set()).discard(future)

    def wake_room(self, c: Conn) -> None:
        for future in self._room_waiters.pop(c, ()):
            if not future.done():
                future.set_result(None)

    def predecessor(self, link: Link) -> Link | None:
        """The lost link of the same worker that link may take over."""
        for o in self.links:
            if o is not link and o.state is State.DOWN and o.was_up and \
                    o.worker == link.worker:
                return o
        return None
