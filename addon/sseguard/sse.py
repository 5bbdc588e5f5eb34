"""Event streams: from bytes in any chunking to blocks, by the WHATWG rules.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

A *block* is what stands between two blank lines: the fields of one event. A comment line outside an event is a
block of its own, since it takes effect when its line ends and nothing after it can change that. The place behind a
block is a *safe point*: there, and only there, another frame can be put into the stream without harming either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
LF, CR, COLON = b"\n\r:"

#: Fields that mark a body as an event stream. `error` is no WHATWG field, but older llama.cpp servers send it.
KNOWN_FIELDS = frozenset((b"data", b"event", b"id", b"retry", b"error"))


class BlockSplitter:
    """Splits a stream into blocks, in linear time and with at most `limit` bytes carried between chunks.

    Blocks come out with LF between their lines and without the blank line that ended them.

    An unfinished block of more than `limit` bytes is given up: what came of it is forgotten, the rest passed over,
    and `oversized` is true until it ends.
    """

    __slots__ = ("_carried", "_lines", "_partial", "_skip_lf", "_start", "limit", "oversized", "pending")

    def __init__(self, limit: int = 1 << 20) -> None:
        self.limit = limit
        #: Bytes fed since the last safe point, as they came. Zero: the stream stands at one.
        self.pending = 0
        #: An event of more than `limit` bytes is under way.
        self.oversized = False
        self._lines: list[bytes] = []  # complete lines of the unfinished block
        self._partial = bytearray()  # the unfinished line
        self._carried = 0  # bytes in both
        self._skip_lf = False  # the last chunk ended in CR: an LF now belongs to it
        self._start: bytes | None = b""  # the first bytes, while they may still be a byte order mark

    def feed(self, chunk: bytes) -> list[bytes]:
        """The blocks that `chunk` completes, in order."""
        if not chunk:
            return []
        if CR in chunk or self._skip_lf or self._start is not None:
            return self._feed_any(chunk)
        if chunk[-2:] == b"\n\n" and not self.pending and chunk[0] != LF:
            # Most often a chunk is one whole block: no need to look at its lines. To find one byte is far quicker than
            # to find two.
            end = len(chunk) - 2
            if chunk.find(b"\n") == end or (chunk[0] != COLON and chunk.find(b"\n\n") == end):
                return [chunk[:end]]
        return self._feed_blocks(chunk)

    def rest(self) -> bytes:
        """What is there of the unfinished block (empty when there is none, or when it is oversized)."""
        return b"" if self.oversized else b"\n".join([*self._lines, self._partial]).strip(b"\n")

    def _feed_blocks(self, text: bytes) -> list[bytes]:
        """Take text with LF only, line by line no more than is needed."""
        first = text.find(b"\n")
        if text[first + 1 : first + 2] == b"\n" and not (self._lines or self.oversized):
            lines = text.split(b"\n")
            if _are_one_line_blocks(lines):
                return self._take_one_line_blocks(lines)
        blocks = []
        if self.pending and (cut := text.find(b"\n\n") + 2) > 1:
            blocks = self._feed_lines(text[:cut].split(b"\n"), cut)
            text = text[cut:]
        if not self.pending:
            more = text.split(b"\n\n")
            rest = more.pop()
            if _are_plain(more):
                blocks += more
                text = rest
        return blocks + self._feed_lines(text.split(b"\n"), len(text))

    def _take_one_line_blocks(self, lines: list[bytes]) -> list[bytes]:
        last = lines.pop()
        lines[0] = bytes(self._partial) + lines[0]
        self._partial[:] = last
        self.pending = self._carried = len(last)
        if self._carried > self.limit:
            self._give_up()
        return lines[::2]

    def _feed_any(self, chunk: bytes) -> list[bytes]:
        if self._start is not None:
            head = self._start + chunk
            if len(head) < len(BOM) and BOM.startswith(head):
                self._start = head
                self.pending += len(chunk)
                return []
            self._start = None
            text = head.removeprefix(BOM)
            if text is not head:
                self.pending = 0
            if not text:
                return []
        else:
            text = chunk
        if self._skip_lf and text[0] == LF:
            text = text[1:]
            # This LF ends no line of its own: at a safe point it changes nothing.
            self.pending += 1 if self.pending else 0
            self._skip_lf = False
            if not text:
                return []
        self._skip_lf = text[-1] == CR
        if CR not in text:
            return self._feed_lines(text.split(b"\n"), min(len(text), len(chunk)))
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return self._feed_lines(lines, min(len(text), len(chunk)), text.splitlines(keepends=True))

    def _feed_lines(self, lines: list[bytes], size: int, raw_lines: list[bytes] | None = None) -> list[bytes]:
        """Take `lines` (the last one unfinished) of `size` bytes; `raw_lines` if their endings are not all LF."""
        blocks: list[bytes] = []
        last = lines.pop()
        safe = -1
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial.clear()
        block = self._lines
        for index, line in enumerate(lines):
            if not line:
                if block and not self.oversized:
                    blocks.append(b"\n".join(block))
                block.clear()
                self.oversized = False
                safe = index
            elif line[0] == COLON and not block and not self.oversized:
                blocks.append(line)
                safe = index
            else:
                block.append(line)
        self._partial += last
        if safe < 0:
            self.pending += size
            self._carried += size
        else:
            tail = raw_lines[safe + 1 :] if raw_lines else [*lines[safe + 1 :], last]
            self.pending = sum(map(len, tail)) + (0 if raw_lines else len(tail) - 1)
            self._carried = self.pending
        if self._carried > self.limit or self.oversized:
            self._give_up()
        return blocks

    def _give_up(self) -> None:
        """Keep of an overlong block only what tells a comment from an event and one line from the next."""
        in_comment = not self._lines and not self.oversized and self._partial.startswith(b":")
        self.oversized = not in_comment
        self._lines.clear()
        self._partial[:] = (b":" if in_comment else b"-") if self._partial else b""
        self._carried = 0


def _are_one_line_blocks(lines: list[bytes]) -> bool:
    """Whether each line but the last, unfinished one has a blank line behind it, as most providers send them."""
    return len(lines) % 2 == 1 and not any(lines[1:-1:2]) and all(lines[:-1:2])


def _are_plain(blocks: list[bytes]) -> bool:
    """Whether what stands between blank lines is a block each time: there is no third line end, and no comment line
    before an event.
    """
    return all(blocks) and not any(
        block[0] == LF or (block[0] == COLON and block.find(b"\n") >= 0) for block in blocks if block[0] <= COLON
    )


class CommentStripper:
    """Takes comments out of a stream, with the blank lines behind them that end no event.

    Those blank lines matter: a client that has seen an `id:` may dispatch an empty event at each.
    """

    __slots__ = ("_ended_in_cr", "_in_event", "_keeping", "_line_start", "_start")

    def __init__(self) -> None:
        self._start: bytes | None = b""  # the first bytes, while they may still be a byte order mark
        self._line_start = True
        self._in_event = False  # a field has passed since the last blank line
        self._keeping = True  # the line under way is let through
        self._ended_in_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """`chunk` without what belongs to comments."""
        kept = []
        if self._start is not None:
            mark, chunk = self._take_mark(self._start, chunk)
            kept = [mark]
        if self._ended_in_cr and chunk[:1] == b"\n":
            kept = [b"\n"] if self._keeping else []
            chunk = chunk[1:]
            self._ended_in_cr = False
        if chunk:
            self._ended_in_cr = chunk[-1] == CR
        return b"".join(kept + [line for line in chunk.splitlines(keepends=True) if self._keep(line)])

    def _take_mark(self, start: bytes, chunk: bytes) -> tuple[bytes, bytes]:
        """What in `chunk`, which follows on `start`, is of a byte order mark, and what stands behind it."""
        head = start + chunk
        if BOM.startswith(head):
            self._start = head
            return chunk, b""
        self._start = None
        if head.startswith(BOM):
            return BOM[len(start) :], head.removeprefix(BOM)
        if start:
            self._keep(start)
        return b"", chunk

    def _keep(self, line: bytes) -> bool:
        if self._line_start:
            blank, comment = line[0] in (LF, CR), line[0] == COLON
            self._keeping = self._in_event if blank else not comment
            self._in_event = not blank and (self._in_event or not comment)
        self._line_start = line[-1] in (LF, CR)
        return self._keeping


@dataclass(frozen=True, slots=True)
class Event:
    """What a block says.

    Attributes:
        type: the `event` field, empty when there is none (a client dispatches it as `message`).
        data: the `data` fields joined by LF, or None when there is none (a client dispatches nothing).
        known: whether any line is a comment or a field of an event stream.
    """

    type: bytes
    data: bytes | None
    known: bool


def fields(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of each line of a block; the name of a comment is empty."""
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        yield name, value.removeprefix(b" ")


def parse(block: bytes) -> Event:
    """The event in a block. An `error` field counts as an `error` event with that data."""
    kind, data, known = b"", [], False
    for name, value in fields(block):
        known = known or not name or name in KNOWN_FIELDS
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"error":
            kind = b"error"
            data.append(value)
    return Event(kind, b"\n".join(data) if data else None, known)


def is_foreign(head: bytes) -> bool:
    """Whether a body that starts with `head` cannot be an event stream (HTML, JSON, prose).

    A line of an event stream starts with a colon or a field name, and a name holds no blanks or brackets.
    """
    if BOM.startswith(head):
        return False
    text = head.removeprefix(BOM).replace(b"\r", b"\n").lstrip(b"\n")
    name = text.split(b"\n", 1)[0].split(b":", 1)[0].translate(None, b"-_")
    return name != b"" and not name.isalnum()
