"""Recordings of event streams: one `*.sse.jsonl` file, one JSON value a line.

    {"sseguard": 1, "recorded": "…", "request": {"method": …, "url": …, "headers": […], "body": …},
     "response": {"status": …, "headers": […]}}                      (in one line)
    [0.412, "chunk", ": OPENROUTER PROCESSING"]
    [0.530, "chunk64", "…"]
    [5.201, "end", "eof"]

Seconds count from the response headers. A chunk is what one read from upstream gave: `chunk` where the bytes
are UTF-8 on their own, `chunk64` (base64) where they are not. A line ends at LF and nowhere else, so a chunk may
hold any other separator. People edit these files: blank lines, CRLF, a byte order mark and a missing final
newline are tolerated. A recorder that was killed leaves no end line, and perhaps half a line: that loads as
`Ending.CUT`, with a word in `Recording.warnings`. All else that is wrong is a `FixtureError`, all of it at once.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import urlsplit

from .recording import (
    VERSION,
    Chunk,
    Damage,
    Ending,
    FixtureError,
    Headers,
    RecordedRequest,
    RecordedResponse,
    Recording,
    chunk_line,
    dumps,
    end_line,
    header_line,
    plain,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "MAX_DAMAGE",
    "SUFFIX",
    "VERSION",
    "Chunk",
    "Damage",
    "Ending",
    "FixtureError",
    "Headers",
    "RecordedRequest",
    "RecordedResponse",
    "Recording",
    "chunk_line",
    "dumps",
    "end_line",
    "header_line",
    "load",
    "load_all",
    "loads",
]

SUFFIX = ".sse.jsonl"

#: Damaged lines told per file. A file that is no recording at all has as much damage as it has lines.
MAX_DAMAGE = 20

_MAX_PATH = 4096


def loads(text: str | bytes, name: str = "<string>") -> Recording:
    """Read one recording; `name` stands for it in messages. Raises `FixtureError`."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _read(io.BytesIO(data), name)


def load(path: Path) -> Recording:
    """Read one file, a line at a time. Raises `FixtureError`, also when the file cannot be read."""
    name = plain(str(path), _MAX_PATH)
    try:
        with path.open("rb") as file:
            return _read(file, name)
    except OSError as error:
        problem = f"Expected a recording that can be read, got: {error.strerror or error}."
        raise FixtureError([Damage(name, 0, problem)]) from error


def load_all(path: Path) -> tuple[Recording, ...]:
    """Read a file, or every `*.sse.jsonl` in a folder and below it in the order of their paths.

    Raises `FixtureError` with the damage of all files together, and for a folder without recordings.
    """
    if not path.is_dir():
        return (load(path),)
    recordings: list[Recording] = []
    damage: list[Damage] = []
    for file in sorted(path.rglob(f"*{SUFFIX}")):
        try:
            recordings.append(load(file))
        except FixtureError as error:
            damage.extend(error.damage)
    if not recordings and not damage:
        damage.append(Damage(plain(str(path), _MAX_PATH), 0, f"Expected *{SUFFIX} files in this folder, got none."))
    if damage:
        raise FixtureError(damage)
    return tuple(recordings)


def _read(lines: Iterable[bytes], name: str) -> Recording:
    reader = _Reader(name)
    for number, line in enumerate(lines, 1):
        if line.strip():
            reader.feed(number, line)
    return reader.finish()


class _Reader:
    """Collects a recording line by line; goes on after damage, to tell the rest of it too."""

    __slots__ = ("chunks", "damage", "end", "ended", "header", "name", "started", "torn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = False
        self.header: tuple[RecordedRequest, RecordedResponse, str] | None = None
        self.chunks: list[Chunk] = []
        self.end: Ending | None = None
        self.ended = 0.0
        self.torn = ""
        self.damage: list[Damage] = []

    def feed(self, number: int, line: bytes) -> None:
        try:
            if not self.started:
                self.started = True
                self.header = _header(_json(line.removeprefix(b"\xef\xbb\xbf")))
            elif self.end is not None:
                raise _wrong("nothing after the end line", line)
            elif (event := self._event(line)) is not None:
                self._take(*event)
        except ValueError as error:
            self._damaged(number, str(error))

    def _event(self, line: bytes) -> tuple[float, str, str] | None:
        try:
            value = _json(line)
        except ValueError:
            # Lines are written whole, so half a line without its newline is where the writer was stopped.
            if line.endswith(b"\n"):
                raise
            self.torn = f" and stops in the middle of a line ({shown(line)}, which is left out)"
            return None
        return _event(value)

    def _take(self, at: float, kind: str, content: str) -> None:
        if at < self.ended:
            raise _wrong(f"a time that is not before the last one ({self.ended!r} seconds)", at)
        self.ended = at
        if kind == "end":
            self.end = _ending(content)
        else:
            self.chunks.append(Chunk(at, _data(kind, content)))

    def _damaged(self, number: int, problem: str) -> None:
        if len(self.damage) < MAX_DAMAGE:
            self.damage.append(Damage(self.name, number, problem))
        elif len(self.damage) == MAX_DAMAGE:
            self.damage.append(Damage(self.name, 0, "More lines are damaged; mend these first."))

    def finish(self) -> Recording:
        if not self.started:
            self._damaged(1, f'Expected a first line like {{"sseguard": {VERSION}, …}}, got an empty file.')
        if self.damage or self.header is None:
            raise FixtureError(self.damage)
        request, response, recorded = self.header
        end = Ending.CUT if self.end is None else self.end
        warnings = (self._unfinished(),) if self.end is None else ()
        chunks = tuple(self.chunks)
        return Recording(request, response, chunks, end, self.ended, recorded, self.name, warnings)

    def _unfinished(self) -> str:
        return (
            f"{self.name}: Expected an end line, but the recording has none{self.torn}. It plays as cut at "
            f'{self.ended!r} seconds; add [{self.ended!r}, "end", "eof"] if the stream was complete.'
        )


def _json(line: bytes) -> object:
    try:
        value: object = json.loads(line.decode("utf-8"))
    except RecursionError:
        raise ValueError("Expected JSON, got a value that is nested too deeply to read.") from None
    except json.JSONDecodeError as error:
        # The error's own text counts lines inside this line, and would name line 1.
        raise ValueError(f"Expected JSON, got {shown(line)} ({error.msg} at column {error.colno}).") from error
    except ValueError as error:
        raise ValueError(f"Expected JSON in UTF-8, got {shown(line)} ({error}).") from error
    return value


def _event(value: object) -> tuple[float, str, str]:
    match value:
        case [int() | float() as at, str(kind), str(content)] if _is_time(at):
            return float(at), kind, content
        case _:
            raise _wrong('[seconds from 0 up, "chunk" or "chunk64" or "end", "…"]', value)


def _is_time(at: float) -> bool:
    # JSON's true is an int to Python, and an int may be larger than a float can hold.
    return not isinstance(at, bool) and 0 <= at <= sys.float_info.max


def _ending(content: str) -> Ending:
    try:
        return Ending(content)
    except ValueError:
        raise _wrong(f"an end out of {', '.join(Ending)}", content) from None


def _data(kind: str, content: str) -> bytes:
    try:
        match kind:
            case "chunk":
                return content.encode("utf-8")
            case "chunk64":
                return base64.b64decode(content, validate=True)
    except ValueError as error:
        form = "text in a chunk (bytes go in a chunk64)" if kind == "chunk" else "base64 in a chunk64"
        raise _wrong(form, content) from error
    raise _wrong('the kind "chunk", "chunk64" or "end"', kind)


def _header(value: object) -> tuple[RecordedRequest, RecordedResponse, str]:
    if not _is_object(value) or "sseguard" not in value:
        raise _wrong(f'a first line like {{"sseguard": {VERSION}, …}}', value)
    version, recorded = value["sseguard"], value.get("recorded", "")
    if isinstance(version, bool) or version != VERSION:
        raise _wrong(f'"sseguard": {VERSION} (a newer sseguard may read more)', version)
    _only(("sseguard", "recorded", "request", "response"), value, "the first line")
    if not isinstance(recorded, str):
        raise _wrong('a time as text in "recorded"', recorded)
    return _request(value.get("request")), _response(value.get("response")), recorded


def _request(value: object) -> RecordedRequest:
    if not _is_object(value):
        raise _wrong('an object in "request"', value)
    _only(("method", "url", "headers", "body"), value, '"request"')
    method, url = value.get("method"), value.get("url")
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise _wrong('an HTTP method in "method"', method)
    if not isinstance(url, str) or not _is_url(url):
        raise _wrong('a URL or a path in "url"', url)
    return RecordedRequest(method, url, _headers(value.get("headers", [])), value.get("body"))


def _response(value: object) -> RecordedResponse:
    if not _is_object(value):
        raise _wrong('an object in "response"', value)
    _only(("status", "headers"), value, '"response"')
    status = value.get("status")
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        raise _wrong("a status from 100 to 599", status)
    return RecordedResponse(status, _headers(value.get("headers", [])))


# RFC 9110, sections 5.6.2 and 5.5: a name is a token; these in a value would split the message, or h11 refuses them.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNSENDABLE = re.compile(r"[\r\n\0\v\f]")


def _headers(value: object) -> Headers:
    if not isinstance(value, list):
        raise _wrong('a list like [["name", "value"]] in "headers"', value)
    return tuple(_header_pair(pair) for pair in value)


def _header_pair(pair: object) -> tuple[str, str]:
    match pair:
        case [str(name), str(value)] if _TOKEN.fullmatch(name) and not _UNSENDABLE.search(value):
            return name, value
        case _:
            raise _wrong('["name", "value"] as HTTP can carry it (no line break, no NUL) in "headers"', pair)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.netloc or parts.path) and not _UNSENDABLE.search(text)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _only(keys: tuple[str, ...], value: dict[str, object], where: str) -> None:
    """Refuse other keys: a typo would be a body or a list of headers lost in silence."""
    for key in value.keys() - set(keys):
        raise _wrong(f"only {', '.join(keys)} in {where}", key)


def _wrong(expected: str, value: object) -> ValueError:
    return ValueError(f"Expected {expected}, got {shown(value)}.")
