"""Prompt and answer replaced by filler of the same length, for recordings that are to be shared.

Lengths stay: of each chunk and each text, in bytes and in characters, escaped or not. So do chunk boundaries, the
lines of the event stream, comments, event names, ids, keys, roles, models, tool names, numbers, finish reasons,
usage, and the messages of errors. What goes is every other text: prompts, answers, reasoning, tool arguments (as
texts they are filler, and no JSON any more; as objects they keep their keys), schemas, file names, images,
signatures, tokens and their bytes.

What may remain of a person: tool and participant names, object keys, the providers' ids, and what an error's
message quotes.
"""

from __future__ import annotations

import enum
import re

from .json_mask import JsonMask
from .text_mask import TextMask


def fill_body(data: bytes) -> bytes:
    """A whole request body, of identity coding, with filler for its texts. What is not JSON is all filler."""
    if data.lstrip()[:1] in (b"{", b"["):
        return JsonMask().feed(data)
    return TextMask().prose(data)


class _Line(enum.Enum):
    """What the rest of a line is."""

    #: Not known yet: what there is of it may be a field's name.
    UNKNOWN = enum.auto()
    #: `data:`, and perhaps blanks.
    DATA = enum.auto()
    #: JSON, or what began as JSON.
    JSON = enum.auto()
    #: A comment, an event's name or id, an error: it stays.
    KEPT = enum.auto()
    #: Text.
    PROSE = enum.auto()


# The last is no field of event streams, but older llama.cpp servers send it.
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")
_END = re.compile(rb"[\r\n]")
_BOM = b"\xef\xbb\xbf"


class StreamFiller:
    """Fills a response chunk by chunk: an event stream, a plain JSON body, JSON lines, or anything else."""

    __slots__ = ("_after_cr", "_bom", "_json", "_line", "_name", "_sse", "_text")

    def __init__(self) -> None:
        self._json = JsonMask()
        self._text = TextMask()
        self._line = _Line.UNKNOWN
        self._name = b""
        self._bom = _BOM
        self._sse = False
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """The next chunk's filler, as long as the chunk. Bytes must be identity, as for redaction."""
        out = bytearray()
        while len(out) < len(data):
            end = _END.search(data, len(out))
            piece = data[len(out) : end.start() if end else len(data)]
            out += self._piece(piece)
            if end:
                out += end[0]
                self._end_line(end[0])
        return bytes(out)

    def _piece(self, piece: bytes) -> bytes:
        at = 0
        while at < len(piece) and self._line in (_Line.UNKNOWN, _Line.DATA):
            at += (self._begin if self._line is _Line.UNKNOWN else self._begin_data)(piece[at : at + 1])
        rest = piece[at:]
        match self._line:
            case _Line.JSON:
                rest = self._json.feed(rest)
            case _Line.PROSE:
                rest = self._text.prose(rest)
            case _Line.UNKNOWN | _Line.DATA | _Line.KEPT:
                pass
        return piece[:at] + rest

    def _begin(self, byte: bytes) -> bool:
        """Look at a byte before which the line is not known; returns whether that byte stays as it is."""
        if not self._sse and not self._json.idle:
            self._line = _Line.JSON  # over several lines
            return False
        if byte == self._bom[:1]:
            self._bom = self._bom[1:]
            return True
        self._bom = b""
        if byte == b":" and (not self._name or self._name in _FIELDS):
            self._line = _Line.DATA if self._name == b"data" else _Line.KEPT
            self._sse = True
            return True
        name = self._name + byte
        if any(field.startswith(name) for field in _FIELDS):
            self._name = name
            return True
        if self._name or byte not in b" \t":
            self._line = _Line.JSON if not self._name and byte in b'{["' else _Line.PROSE
            return False
        return True

    def _begin_data(self, byte: bytes) -> bool:
        if byte in b" \t":
            return True
        if not self._json.idle or byte in b'{["-0123456789':
            self._line = _Line.JSON
        else:  # a comment wrapped as data is still a comment
            self._line = _Line.KEPT if byte == b":" else _Line.PROSE
        return False

    def _end_line(self, end: bytes) -> None:
        if end == b"\n" and self._after_cr and self._line is _Line.UNKNOWN and not self._name:
            self._after_cr = False
            return
        if self._line is _Line.JSON:
            self._json.feed(end)
        blank = self._line is _Line.UNKNOWN and not self._name
        if self._json.idle or (blank if self._sse else self._json.broken):
            self._json.reset()
        self._line, self._name, self._after_cr = _Line.UNKNOWN, b"", end == b"\r"
