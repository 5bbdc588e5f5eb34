"""Bytes on their way to the client: held back at first, and then let out up to the last safe point of the stream.

What ends at a safe point (see `sse`) can have an error frame behind it. That is worth the wait for the rest of a frame,
which no client can use in part; but not for a frame that is larger than the limit, and not in a compressed body, where
no frame can be put anyway.
"""

from __future__ import annotations

from .sse import CommentStripper

#: Pieces of fewer bytes are joined while they wait: each costs some 40 bytes of its own.
SMALL = 512


class Outlet:
    """Holds body bytes in order. `limit`: the most bytes of an unfinished frame to keep back."""

    __slots__ = ("_held", "_limit", "_stripper", "aligned", "size", "torn")

    def __init__(self, limit: int) -> None:
        #: What goes out ends at safe points. Otherwise it goes out as it comes.
        self.aligned = True
        #: Half a frame is out.
        self.torn = False
        #: Bytes held.
        self.size = 0
        self._limit = limit
        self._held: list[bytes] = []
        self._stripper: CommentStripper | None = None

    def strip_comments(self) -> None:
        """Leave comments out from here on."""
        self._stripper = CommentStripper()

    @property
    def takes_frames(self) -> bool:
        """Whether a frame can be put behind what has gone out."""
        return self.aligned and not self.torn

    @property
    def is_over_limit(self) -> bool:
        """Whether more is held than should be."""
        return self.size > self._limit

    def put(self, data: bytes) -> None:
        """Bytes have come."""
        if self._held and len(self._held[-1]) < SMALL:
            self._held[-1] += data
        elif data:
            self._held.append(data)
        self.size += len(data)

    def pass_on(self, data: bytes, pending: int) -> bytes:
        """`put` and `take` in one; what comes at a safe point, as nearly all does, goes through as it is."""
        if not (pending or self._held or self._stripper):
            self.torn = False
            return data
        self.put(data)
        return self.take(pending)

    def take(self, pending: int) -> bytes:
        """What can go out when `pending` bytes have come since the last safe point."""
        if not self.aligned or not pending:
            self.torn = False
            return self.take_all()
        if pending > min(self.size, self._limit):
            # The frame under way is out in part, or too large to be kept back.
            self.torn = True
            return self.take_all()
        self.torn = False
        if pending == self.size:
            return b""
        data = self._drain()
        self.put(data[len(data) - pending :])
        return self._strip(data[: len(data) - pending])

    def take_all(self) -> bytes:
        """All that is held, wherever it ends."""
        return self._strip(self._drain())

    def take_whole(self, pending: int, *, complete: bool) -> bytes:
        """What is held, made to end at a safe point: an unfinished frame gets the blank line that it lacks if it is
        `complete` otherwise, and is dropped if not.
        """
        data = self._drain()
        if complete:
            # A CR would make of one LF the end of the same line.
            return self._strip(data + (b"\n" if data.endswith(b"\n") else b"\n\n"))
        return self._strip(data[: max(len(data) - pending, 0)])

    def drop(self) -> None:
        """Forget what is held."""
        self._drain()

    def _drain(self) -> bytes:
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self.size = 0
        return data

    def _strip(self, data: bytes) -> bytes:
        return self._stripper.feed(data) if self._stripper else data
