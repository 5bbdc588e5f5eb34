"""Event streams and verdicts the slow and obvious way, from the text of the specifications: what the tests compare to.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sseguard.dialects import Dialect, Frame, Kind, read
from sseguard.verdicts import Verdict

BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Blocks:
    """A stream in blocks: those that are complete, what there is of the next, and the last offset between two."""

    complete: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    safe: int = 0


def blocks(body: bytes) -> Blocks:
    """`body` in blocks."""
    found = Blocks()
    if BOM.startswith(body) and body != BOM:
        return found  # it may be the start of a byte order mark
    found.safe = at = len(BOM) if body.startswith(BOM) else 0
    block: list[bytes] = []
    for match in re.finditer(rb"([^\r\n]*)(?:\r\n|\r|\n)", body[at:]):
        line, end = match[1], at + match.end()
        if line == b"":
            found.complete += [b"\n".join(block)] if block else []
            block, found.safe = [], end
        elif line.startswith(b":") and not block:
            found.complete.append(line)
            found.safe = end
        else:
            block.append(line)
    tail = re.split(rb"[\r\n]", body[at:])[-1]
    found.rest = b"\n".join([*block, tail] if tail else block)
    return found


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a client's event source makes of an event."""

    type: str
    data: str
    id: str


def dispatch(body: bytes) -> list[Dispatched]:
    """The events that a client sees in `body`, by the algorithm of section 9.2.6, step by step."""
    events: list[Dispatched] = []
    kind, data, last_id = "", "", ""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    for line in re.split(r"\r\n|\r|\n", text)[:-1]:
        if line == "":
            if data != "":
                events.append(Dispatched(kind or "message", data.removesuffix("\n"), last_id))
            kind, data = "", ""
            continue
        if line.startswith(":"):
            continue
        name, value = line, ""
        if ":" in line:
            name, value = line.split(":", 1)
            value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "data":
                data += value + "\n"
            case "id" if "\0" not in value:
                last_id = value
    return events


def is_foreign(body: bytes) -> bool:
    """Whether the first line of `body` is one that no event stream starts with."""
    if BOM.startswith(body):
        return False
    lines = re.split(rb"[\r\n]+", body.removeprefix(BOM)[:200])
    first = next((line for line in lines if line), b"")
    return re.fullmatch(rb"[A-Za-z0-9_-]*", first.split(b":")[0]) is None


class Story:
    """A stream, read to some point, with every block read in full. See the table of verdicts."""

    def __init__(self, dialect: Dialect, body: bytes, choices: int = 1, *, with_rest: bool = False) -> None:
        self.parsed = blocks(body)
        rest = [self.parsed.rest] if with_rest and self.parsed.rest else []
        self.heartbeats = self.events = self.finished = 0
        self.preamble = self.answered = self.late_error = False
        #: The failure that shows before any answer.
        self.early: Verdict | None = Verdict.MALFORMED if is_foreign(body) else None
        for block in self.parsed.complete + rest:
            if self.early is None:
                self._tell(read(block, dialect), choices)
        self.settled = self.finished >= choices or self.late_error

    def _tell(self, frame: Frame, choices: int) -> None:
        self.finished += choices if frame.final else frame.finished
        if frame.kind is Kind.HEARTBEAT:
            self.heartbeats += 1
            return
        self.events += 1
        if self.answered:
            self.late_error = self.late_error or frame.kind is Kind.ERROR
            return
        self.answered = frame.kind is Kind.ANSWER
        self.preamble = self.preamble or frame.kind is Kind.PREAMBLE
        match frame.kind:
            case Kind.ERROR:
                self.early = Verdict.PROVIDER_ERROR
            case Kind.DONE:
                self.early = Verdict.DONE_ONLY
            case Kind.MALFORMED:
                self.early = Verdict.MALFORMED
            case Kind.PREAMBLE if frame.final:
                self.early = Verdict.PREAMBLE_ONLY

    @property
    def silence(self) -> Verdict:
        """The verdict on a clean end without an answer."""
        if self.preamble:
            return Verdict.PREAMBLE_ONLY
        return Verdict.HEARTBEATS_ONLY if self.heartbeats else Verdict.EMPTY


def verdict_at_end(dialect: Dialect, body: bytes, choices: int = 1) -> Verdict:
    """The verdict when `body` is all, and ended as it should."""
    story = Story(dialect, body, choices, with_rest=True)
    if not story.answered:
        return story.early or story.silence
    if story.late_error:
        return Verdict.PROVIDER_ERROR_LATE
    return Verdict.ANSWERED if story.settled else Verdict.TRUNCATED


def verdict_at_cut(dialect: Dialect, body: bytes, choices: int = 1) -> Verdict:
    """The verdict when upstream broke behind `body`, and the headers were held until an answer came."""
    before = Story(dialect, body, choices)
    story = Story(dialect, body, choices, with_rest=is_whole(before.parsed.rest, dialect))
    if story.early:
        return story.early
    if story.late_error:
        return Verdict.PROVIDER_ERROR_LATE
    if story.answered and story.settled:
        return Verdict.ANSWERED
    return Verdict.CUT_LATE if before.answered else Verdict.CUT


def is_whole(rest: bytes, dialect: Dialect) -> bool:
    """Whether an unfinished block lacks nothing but its blank line."""
    return rest.endswith((b"}", b"[DONE]")) and read(rest, dialect).kind is not Kind.MALFORMED
