"""Filler for the texts in JSON, as it comes. What stays is in `filler_rules`; keys, structure and numbers do too.

What is not JSON, or stops being JSON, is masked as prose until `reset`. So is what is nested beyond all reason.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from .filler_rules import TOKEN_KEYS, TOKENS_AS_KEYS, Stays, is_free, stays
from .text_mask import TextMask


class _Inside(enum.Enum):
    """Which kind of string the next byte belongs to."""

    NOTHING = enum.auto()
    #: A key; it stays.
    KEY = enum.auto()
    #: A key that may be a token of the answer; it stays as long as it goes like one of `TOKEN_KEYS`.
    TOKEN_KEY = enum.auto()
    #: A text, or the rest of something that did not stay.
    MASKED = enum.auto()
    #: A word that stays.
    WORD = enum.auto()
    #: A text that stays.
    KEPT = enum.auto()


_STRINGS = {Stays.NOTHING: _Inside.MASKED, Stays.WORD: _Inside.WORD, Stays.ALL: _Inside.KEPT}


class _Expected(enum.Enum):
    """What comes next outside of strings."""

    KEY = enum.auto()
    VALUE = enum.auto()
    #: A colon, a comma, or the end of an object or array.
    MARK = enum.auto()


@dataclass(slots=True)
class _Level:
    """An object or array that is open. `name`: the member it is the value of; `key`: the member at hand."""

    is_object: bool
    name: bytes
    free: bool
    key: bytes = b""

    @property
    def member(self) -> bytes:
        return self.key if self.is_object else self.name


_MAX_DEPTH = 200
_MAX_KEY = 64
_QUIET = re.compile(rb"(?:[\s\d.+-]|(?:null|true|false)(?=[\s,\]}]))+")
_WORD = re.compile(rb"[\w.:/@+-]+")
_STRING = re.compile(rb'[^"\\\r\n]+')
_WHOLE_KEY = re.compile(rb'"([\w.-]{1,64})":')
_WHOLE_VALUE = re.compile(rb'"([ !#-\[\]-~]*)"')
_LITERALS = (b"null", b"true", b"false", b"DONE", b"NaN", b"Infinity")


class JsonMask:
    """Masks a JSON text given in any pieces; gives back as many bytes as it gets.

    Attributes:
        broken: this is no JSON any more.
    """

    __slots__ = ("_escaped", "_expected", "_inside", "_key", "_levels", "_number", "_text", "_word", "broken")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin another text."""
        self.broken = False
        self._levels = [_Level(is_object=False, name=b"", free=False)]
        self._inside = _Inside.NOTHING
        self._expected = _Expected.VALUE
        self._text = TextMask()
        self._key = b""
        self._escaped = False  # the byte before was the backslash of a string that stays
        self._word = b""  # the letters before, outside of strings
        self._number = False  # the byte before was a digit, outside of strings

    @property
    def idle(self) -> bool:
        """Whether a text is complete, or has not begun."""
        return len(self._levels) == 1 and self._inside is _Inside.NOTHING and not self.broken

    def feed(self, data: bytes) -> bytes:
        """Mask the next piece."""
        out = bytearray()
        while len(out) < len(data):
            out += self._next(data, len(out))
        return bytes(out)

    def _next(self, data: bytes, at: int) -> bytes:
        """The filler for some bytes from `at` on, or none after a change of state."""
        if self.broken:
            return self._text.prose(data[at:])
        match self._inside:
            case _Inside.NOTHING:
                return self._between(data, at)
            case _ if data[at] in b"\r\n":
                self.broken = True
                return b""
            case _Inside.MASKED:
                return self._masked(data, at)
            case _Inside.TOKEN_KEY:
                return self._token_key(data[at : at + 1])
            case _Inside.WORD if word := _WORD.match(data, at):
                return word[0]
            case _Inside.WORD if data[at : at + 1] != b'"':
                self._inside = _Inside.MASKED
                return b""
            case _Inside.KEY | _Inside.WORD | _Inside.KEPT:
                return self._kept(data, at)

    def _between(self, data: bytes, at: int) -> bytes:
        level = self._levels[-1]
        quiet = None if level.free or self._word else _QUIET.match(data, at)
        if quiet:
            self._number = quiet[0][-1:].isdigit()
            return quiet[0]
        byte = data[at : at + 1]
        match byte:
            case b'"':
                self._text.restart()
                if whole := self._whole_string(data, at):
                    return whole
                self._open_string()
            case b"{" | b"[":
                self._open(is_object=byte == b"{")
            case b"}" | b"]":
                self._close(is_object=byte == b"}")
            case b",":
                self._expected = _Expected.KEY if level.is_object else _Expected.VALUE
            case b":":
                self._expected = _Expected.VALUE
            case _:
                return self._loose(byte)
        self._word, self._number = b"", False
        return byte

    def _loose(self, byte: bytes) -> bytes:
        """A byte of a number, a literal, or of what does not belong in JSON."""
        number, self._number = self._number, byte.isdigit()
        if byte in b"eE" and number:
            return byte
        if byte.isalpha():
            self._word += byte if len(self._word) < _MAX_KEY else b""
            return byte if any(literal.startswith(self._word) for literal in _LITERALS) else b"x"
        self._word = b""
        if byte.isdigit():
            return b"1" if self._levels[-1].free else byte
        return byte if byte < b"\x80" else bytes((self._text.wide(byte[0]),))

    def _open(self, *, is_object: bool) -> None:
        level = self._levels[-1]
        free = level.free or is_free(level.member, level.name, is_object=is_object and level.is_object)
        self._levels.append(_Level(is_object, level.member, free))
        self._expected = _Expected.KEY if is_object else _Expected.VALUE
        self.broken = len(self._levels) > _MAX_DEPTH

    def _close(self, *, is_object: bool) -> None:
        self.broken = len(self._levels) == 1 or self._levels.pop().is_object is not is_object
        self._expected = _Expected.MARK

    def _whole_string(self, data: bytes, at: int) -> bytes | None:
        """A key or a value that is there as a whole and without escapes: the usual case, done at once."""
        level = self._levels[-1]
        if self._expected is _Expected.KEY and level.name != TOKENS_AS_KEYS and (key := _WHOLE_KEY.match(data, at)):
            level.key, self._expected = key[1], _Expected.VALUE
            return key[0]
        if self._expected is _Expected.VALUE and (value := _WHOLE_VALUE.match(data, at)):
            self._expected = _Expected.MARK
            kind = self._kind(level)
            word = _WORD.match(value[1]) if kind is _Inside.WORD else None
            kept = len(value[1]) if kind is _Inside.KEPT else word.end() if word else 0
            return b'"' + value[1][:kept] + b"x" * (len(value[1]) - kept) + b'"'
        return None

    def _open_string(self) -> None:
        level = self._levels[-1]
        match self._expected:
            case _Expected.KEY:
                self._key = b""
                self._inside = _Inside.TOKEN_KEY if level.name == TOKENS_AS_KEYS else _Inside.KEY
            case _Expected.VALUE:
                self._inside = self._kind(level)
            case _Expected.MARK:
                self.broken = True

    def _kind(self, level: _Level) -> _Inside:
        return _Inside.MASKED if level.free else _STRINGS[stays(level.member, level.name)]

    def _close_string(self) -> None:
        if self._expected is _Expected.KEY:
            self._levels[-1].key = self._key
        self._inside = _Inside.NOTHING
        self._expected = _Expected.MARK

    def _kept(self, data: bytes, at: int) -> bytes:
        byte = data[at : at + 1]
        if self._escaped or byte == b"\\":
            self._escaped = not self._escaped
            taken = byte
        elif byte == b'"':
            self._close_string()
            return byte
        else:
            found = _STRING.match(data, at)
            taken = found[0] if found else byte
        if self._inside is _Inside.KEY:
            self._key = (self._key + taken)[: _MAX_KEY + 1]
        return taken

    def _token_key(self, byte: bytes) -> bytes:
        if byte == b'"':
            self._close_string()
        else:
            self._key += byte
            if not any(key.startswith(self._key) for key in TOKEN_KEYS):
                self._inside, self._key = _Inside.MASKED, b""
                return b""
        return byte

    def _masked(self, data: bytes, at: int) -> bytes:
        byte = data[at : at + 1]
        if self._text.escaping or byte == b"\\":
            return bytes((self._text.escape(byte[0]),))
        if byte == b'"':
            self._close_string()
            return byte
        found = _STRING.match(data, at)
        return self._text.text(found[0] if found else byte)
