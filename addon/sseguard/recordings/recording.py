"""What a recording is, and the lines it is written as. Reading is in `fixture`, with the format as a whole."""

from __future__ import annotations

import base64
import enum
import json
import math
import re
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The format that is written, and the only one that is read.
VERSION = 1

#: In order, as they were sent; values read as Latin-1, so that each byte is one character.
Headers: TypeAlias = tuple[tuple[str, str], ...]


class Ending(enum.StrEnum):
    """How a recorded response ended."""

    #: Upstream finished: the end of the body as its framing said.
    EOF = "eof"
    #: Upstream broke: a reset, a close before the body was complete, or a recorder that was killed.
    CUT = "cut"
    #: The client went away first, so what upstream would have sent next is not known.
    CLIENT_LEFT = "client_left"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that arrived together, `at` seconds after the response headers; any bytes, also none."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What the client asked. `body` is a JSON value, a `str` when it was not JSON, `None` when there was none."""

    method: str
    url: str
    headers: Headers
    body: object


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """How upstream began to answer."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange. `ended`: seconds after the response headers; `recorded`: an ISO 8601 time, or empty."""

    request: RecordedRequest
    response: RecordedResponse
    chunks: tuple[Chunk, ...]
    end: Ending
    ended: float
    recorded: str
    #: Where it was loaded from, to name it in messages.
    name: str = field(default="", compare=False)
    #: What a person should know about the file although it loaded.
    warnings: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing wrong with a file. `line` counts from 1; 0 means the file as a whole."""

    name: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {self.problem}" if self.line else f"{self.name}: {self.problem}"


class FixtureError(ValueError):
    """Raised when recordings cannot be used. `damage` lists what is wrong with each file that was asked for."""

    def __init__(self, damage: Iterable[Damage]) -> None:
        self.damage = tuple(damage)
        super().__init__("\n".join(map(str, self.damage)))


# Legal inside JSON strings, but editors break lines at some of these, terminals obey others (control and
# direction marks), and lone surrogates cannot be written as UTF-8.
_ESCAPED = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def header_line(request: RecordedRequest, response: RecordedResponse, recorded: str) -> str:
    """The first line of a file, with its newline.

    Raises `RecursionError` for a body nested deeper than Python's own limit.
    """
    asked = {"method": request.method, "url": request.url, "headers": request.headers, "body": request.body}
    answered = {"status": response.status, "headers": response.headers}
    return _line({"sseguard": VERSION, "recorded": recorded, "request": asked, "response": answered})


def chunk_line(at: float, data: bytes) -> str:
    """The line of one chunk, with its newline. `at` is in seconds, kept to the microsecond."""
    try:
        return _line([_rounded(at), "chunk", data.decode("utf-8")])
    except UnicodeDecodeError:
        return _line([_rounded(at), "chunk64", base64.b64encode(data).decode("ascii")])


def end_line(at: float, end: Ending) -> str:
    """The last line of a file, with its newline. `at` is in seconds, kept to the microsecond."""
    return _line([_rounded(at), "end", str(end)])


def dumps(recording: Recording) -> str:
    """A whole recording as text; `name` and `warnings` are not part of it."""
    header = header_line(recording.request, recording.response, recording.recorded)
    chunks = (chunk_line(chunk.at, chunk.data) for chunk in recording.chunks)
    return "".join((header, *chunks, end_line(recording.ended, recording.end)))


def _line(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _rounded(at: float) -> float:
    if not 0 <= at < math.inf:
        raise ValueError(f"Expected seconds since the response headers, 0 or more, got {at!r}.")
    return round(at, 6)


def shown(value: object, limit: int = 80) -> str:
    """`repr` for messages: it escapes what a terminal would obey, and stays short however large the value is."""
    text = repr(value[:limit]) if isinstance(value, str | bytes) else reprlib.repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plain(text: str, limit: int = 80) -> str:
    """`text` itself where it is short and safe to print, `shown` otherwise."""
    return text if text.isprintable() and len(text) <= limit else shown(text, limit)
