"""Reading a stream as it passes: what has come of the answer so far, and when there is no use in waiting for more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import dialects, sse
from .dialects import Dialect, Frame, Kind
from .verdicts import Verdict

if TYPE_CHECKING:
    from .provider_error import ProviderError

#: How much of something unreadable goes into the error, in bytes.
EXCERPT = 200

#: The least that a block may measure before it is given up unread, in bytes.
MAX_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream has shown, before any answer, that none will come.

    Attributes:
        verdict: why.
        provider_error: what the provider said, if it did.
        excerpt: the start of what could not be read.
    """

    verdict: Verdict
    provider_error: ProviderError | None = None
    excerpt: str = ""


class Reader:
    """Reads one decoded body.

    Args:
        dialect: how to understand its frames.
        choices: how many finish reasons make the answer complete.
        max_block: the largest block that is read, in bytes; a larger one counts as an answer.
    """

    __slots__ = ("_choices", "_dialect", "_finished", "_head", "_preamble", "_splitter", "answered", "error",
                 "events", "heartbeats", "released")  # fmt: skip

    def __init__(self, dialect: Dialect, choices: int, max_block: int = MAX_BLOCK) -> None:
        #: Comments, pings and events without data.
        self.heartbeats = 0
        #: Blocks with data, pings not counted.
        self.events = 0
        #: An answer frame has come.
        self.answered = False
        #: The error that the provider itself told the client inside the stream.
        self.error: Verdict | None = None
        #: The client gets each frame as it comes: an error frame needs no telling.
        self.released = False
        self._dialect = dialect
        self._choices = choices
        self._splitter = sse.BlockSplitter(max_block)
        self._head: bytes | None = b""  # the first bytes, while they may still turn out to be no event stream
        self._preamble = False
        self._finished = 0

    @property
    def pending(self) -> int:
        """Bytes since the last safe point of the stream."""
        return self._splitter.pending

    @property
    def complete(self) -> bool:
        """Whether an end mark has come, or finish reasons for all choices."""
        return self._finished >= self._choices

    @property
    def silence(self) -> Verdict:
        """The verdict on a body that ended here, without an answer."""
        if self._preamble:
            return Verdict.PREAMBLE_ONLY
        return Verdict.HEARTBEATS_ONLY if self.heartbeats else Verdict.EMPTY

    @property
    def ends_in_whole_frame(self) -> bool:
        """Whether the block under way lacks nothing but its blank line."""
        rest = self._splitter.rest()
        return rest.endswith((b"}", b"[DONE]")) and dialects.read(rest, self._dialect).kind is not Kind.MALFORMED

    def feed(self, text: bytes) -> Stop | None:
        """More of the body; None while there may be an answer in what follows."""
        blocks = self._splitter.feed(text)
        if self._head is not None and (stop := self._read_head(text)) is not None:
            return stop
        if self.answered and len(blocks) > 1:
            # The first of them began before.
            first, *others = blocks
            if not self._may_matter(others, text):
                self._count(others)
                blocks = [first]
        for block in blocks:
            if (stop := self._read(block)) is not None:
                return stop
        if self._splitter.oversized:
            self._answer()
        return None

    def finish(self) -> Stop | None:
        """The body has ended: read a last block that lacks its blank line, as lenient clients do."""
        rest = self._splitter.rest()
        return self._read(rest) if rest else None

    def finish_whole_frame(self) -> Stop | None:
        """`finish`, for a body that broke off or fell silent: the client gets a whole frame completed, and half a frame
        says nothing; not even an error, which the client will not get to see.
        """
        return self.finish() if self.ends_in_whole_frame else None

    def _read_head(self, text: bytes) -> Stop | None:
        head = self._head = ((self._head or b"") + text)[:EXCERPT]
        if sse.is_foreign(head):
            return Stop(Verdict.MALFORMED, excerpt=_excerpt(head))
        if len(head) == EXCERPT or b"\n" in head.strip(b"\r\n"):
            self._head = None
        return None

    def _read(self, block: bytes) -> Stop | None:
        if not self.answered:
            return self._read_early(block, dialects.read(block, self._dialect))
        if dialects.is_heartbeat(block):
            self.heartbeats += 1
            return None
        self.events += 1
        if dialects.may_be_error(block) or (not self.complete and dialects.may_be_end(block, self._dialect)):
            self._read_late(dialects.read(block, self._dialect))
        return None

    def _may_matter(self, blocks: list[bytes], text: bytes) -> bool:
        """Whether it takes `_read` to tell what `blocks`, behind the first answer and all from `text`, mean."""
        if text.find(b"error") >= 0 and any(map(dialects.may_be_error, blocks)):
            return True
        return not self.complete and dialects.may_be_end(text, self._dialect)

    def _count(self, blocks: list[bytes]) -> None:
        heartbeats = sum(map(dialects.is_heartbeat, blocks))
        self.heartbeats += heartbeats
        self.events += len(blocks) - heartbeats

    def _read_early(self, block: bytes, frame: Frame) -> Stop | None:
        """A block before the first answer frame, or that frame."""
        if frame.kind is Kind.HEARTBEAT:
            self.heartbeats += 1
            return None
        self.events += 1
        match frame.kind:
            case Kind.ANSWER:
                self._answer()
                self._count_finished(frame)
            case Kind.PREAMBLE:
                self._preamble = True
                return Stop(Verdict.PREAMBLE_ONLY) if frame.final else None
            case Kind.DONE:
                return Stop(Verdict.DONE_ONLY)
            case Kind.MALFORMED:
                return Stop(Verdict.MALFORMED, excerpt=_excerpt(block))
            case Kind.ERROR:
                if not self.released:
                    return Stop(Verdict.PROVIDER_ERROR, frame.error)
                self._answer()
                self.error = Verdict.PROVIDER_ERROR
        return None

    def _read_late(self, frame: Frame) -> None:
        if frame.kind is Kind.ERROR:
            self.error = self.error or Verdict.PROVIDER_ERROR_LATE
        else:
            self._count_finished(frame)

    def _answer(self) -> None:
        self.answered = True
        self._head = None

    def _count_finished(self, frame: Frame) -> None:
        self._finished = self._choices if frame.final else self._finished + frame.finished


def _excerpt(data: bytes) -> str:
    return data[:EXCERPT].decode("utf-8", "backslashreplace")
