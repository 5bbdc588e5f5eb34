"""Secrets that an answer spells out piece by piece, over many frames: `"content":"sk-or-"` … `"content":"v1-ab…"`.

The texts of one member (same name, same indices in its frame) are read as one text. As long as its end may be
the beginning of a secret, the frames that hold that end are held. What is not seen: a secret whose pieces are
not values of one member, in order, with nothing in between; and of a base64 word that looks like an ordinary
word for its first letters, those letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .secret_patterns import MORE_KEY, MORE_PEM
from .secret_scan import Hit, Wanted, find, with_begun
from .secret_tails import opening


class Cut(NamedTuple):
    """A range of the stream, in bytes from its beginning, to be taken out; `hit` goes in its place, if any."""

    start: int
    end: int
    hit: Hit | None


#: Members that are the same in every frame, or name things. Their values are no pieces of a text.
STRUCTURAL = (
    rb"id|object|model|provider|type|role|event|status|name|index|system_fingerprint|service_tier|finish_reason|"
    rb"native_finish_reason|finishReason|stop_reason|created_at|item_id|call_id|tool_call_id|responseId|"
    rb"response_id|modelVersion|obfuscation"
)
_MEMBER = re.compile(
    rb'"(?!(?:' + STRUCTURAL + rb')")(\w{1,40})"\s{0,8}:\s{0,8}(?:"([^"\\]*(?:\\.[^"\\]*)*)"?)'
    rb'|index"\s{0,8}:\s{0,8}(\d{1,9})', re.DOTALL
)  # fmt: skip

#: Texts followed at once; the one that has rested longest is let go for another.
_MAX_CHANNELS = 64
#: What is remembered of a text that was let go, in bytes: enough for the name that announces a value.
_CONTEXT = 80
#: A secret longer than this is taken out as it comes.
_MAX_SECRET = 4096


@dataclass(slots=True)
class _Channel:
    """The text of one member: context that was let go, then what is held, as pieces of the stream."""

    text: bytes = b""
    held: int = 0
    #: (offset in `text`, offset in the stream) of each piece; a piece goes on to the next or to the end.
    pieces: list[tuple[int, int]] = field(default_factory=list)
    #: A value is announced and has not begun yet.
    awaiting: bool = False
    #: What belongs to a secret of which the beginning was taken out.
    swallow: re.Pattern[bytes] | None = None
    last: bytes = b""

    @property
    def active(self) -> bool:
        return bool(self.pieces) or self.swallow is not None or self.awaiting


class Deltas:
    """Follows the texts of a stream's frames.

    Attributes:
        active: whether what the next line says may depend on the lines before, so that it must be fed.
    """

    __slots__ = ("_channels", "_cuts", "_owned", "_wanted", "active")

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._channels: dict[tuple[bytes, int, bytes], _Channel] = {}
        self._cuts: list[Cut] = []
        self._owned: list[tuple[int, int]] = []
        self.active = False

    def hold(self) -> int | None:
        """The offset in the stream from which on nothing may be written yet."""
        return min((channel.pieces[0][1] for channel in self._channels.values() if channel.pieces), default=None)

    def feed(self, line: bytes, offset: int) -> tuple[list[Cut], list[tuple[int, int]]]:
        """Read a line that begins at `offset` in the stream.

        Returns what to take out, and the ranges of this line that are judged as part of a text: now, or later.
        """
        self._cuts, self._owned = [], []
        found = list(_MEMBER.finditer(line))
        indices = b",".join(member[3] for member in found if member[3])
        seen: dict[bytes, int] = {}
        for member in found:
            if member[1]:
                seen[member[1]] = nth = seen.get(member[1], 0) + 1
                self._piece(self._channel((member[1], nth, indices)), member[2], offset + member.start(2))
        self._refresh()
        return self._cuts, self._owned

    def skip(self) -> None:
        """A line was not fed, so what texts ended with before it says nothing about what comes next."""
        if self._channels:
            self._channels.clear()

    def settle(self) -> list[Cut]:
        """Judge all that is held as it stands.

        What is probably the beginning of a secret goes, and the rest of it when it comes.
        """
        self._cuts = []
        for channel in self._channels.values():
            self._settle(channel)
        self._refresh()
        return self._cuts

    def _refresh(self) -> None:
        self.active = any(channel.active for channel in self._channels.values())

    def _channel(self, key: tuple[bytes, int, bytes]) -> _Channel:
        channel = self._channels.pop(key, None) or _Channel()
        self._channels[key] = channel
        if len(self._channels) > _MAX_CHANNELS:
            self._settle(self._channels.pop(next(iter(self._channels))))
        return channel

    def _piece(self, channel: _Channel, data: bytes, start: int) -> None:
        if channel.swallow:
            gone = swallowed(data, channel.swallow)
            self._cuts.append(Cut(start, start + gone, None))
            self._owned.append((start, start + gone))
            channel.swallow = channel.swallow if gone == len(data) else None
            start, data = start + gone, data[gone:]
        # An id that this module does not know by name is no text that goes on.
        repeated = len(data) >= 8 and data == channel.last
        channel.last = data
        if repeated:
            self._settle(channel, final=True)
        elif data:
            self._append(channel, data, start)

    def _append(self, channel: _Channel, data: bytes, start: int) -> None:
        was_active = channel.active
        channel.pieces.append((len(channel.text), start))
        channel.text += data
        found = opening(channel.text, self._wanted)
        until = max(found.start, channel.held) if found else len(channel.text)
        if was_active:
            self._owned.append((start, start + len(data)))
            until = self._judge(channel, until) if until > channel.held else until
        elif until < len(channel.text):
            self._owned.append((start + until - channel.held, start + len(data)))
        _let_go(channel, until)
        channel.awaiting = found is not None and not channel.pieces
        if found and found.hit and len(channel.text) > _MAX_SECRET:
            self._settle(channel)

    def _judge(self, channel: _Channel, until: int) -> int:
        """Take out the secrets that begin before `until`; returns where the last of them ends, if that is later."""
        for hit in find(channel.text, self._wanted):
            if hit.start < until:
                if hit.end == len(channel.text) > until:
                    channel.swallow = following(hit)
                until = max(until, hit.end)
                self._take(channel, hit)
        return until

    def _settle(self, channel: _Channel, *, final: bool = False) -> None:
        if channel.pieces:
            found = None if final else opening(channel.text, self._wanted)
            for hit in with_begun(find(channel.text, self._wanted), found and found.hit):
                self._take(channel, hit)
                if hit.end == len(channel.text) and not final:
                    channel.swallow = following(hit)
            _let_go(channel, len(channel.text))
        channel.awaiting = False

    def _take(self, channel: _Channel, hit: Hit) -> None:
        first: Hit | None = hit
        ends = [offset for offset, _ in channel.pieces[1:]] + [len(channel.text)]
        for (offset, at), end in zip(channel.pieces, ends, strict=True):
            low, high = max(hit.start, offset), min(hit.end, end)
            if low < high:
                self._cuts.append(Cut(at + low - offset, at + high - offset, first))
                first = None


def following(hit: Hit) -> re.Pattern[bytes] | None:
    """What a secret may go on with after a part of it that was taken out; None if it is complete."""
    if hit.kind == "private-key":
        return None if b"-----END" in hit.value and hit.value.endswith(b"-----") else MORE_PEM
    return MORE_KEY


def swallowed(data: bytes, more: re.Pattern[bytes]) -> int:
    """How many bytes at the beginning of `data` go on with the secret."""
    found = more.match(data)
    return found.end() if found else 0


def _let_go(channel: _Channel, until: int) -> None:
    """Hold only what comes after `until`, and remember a little of what came before."""
    if until == channel.held and channel.pieces:
        return
    ends = [offset for offset, _ in channel.pieces[1:]] + [len(channel.text)]
    dropped = max(0, until - _CONTEXT)
    channel.pieces = [
        (max(offset, until) - dropped, at + max(offset, until) - offset)
        for (offset, at), end in zip(channel.pieces, ends, strict=True)
        if end > until
    ]
    channel.text, channel.held = channel.text[dropped:], until - dropped
