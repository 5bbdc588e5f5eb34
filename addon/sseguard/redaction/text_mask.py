"""Filler for text, byte for byte: as many characters, as many bytes, as many escapes, and nothing of what it said.

A byte is masked without knowing the next, so text may come in any pieces.
"""

from __future__ import annotations

_LETTER = ord("x")
_SIMPLE_ESCAPE = ord("/")
_BACKSLASH = ord("\\")

#: What each byte of JSON text becomes, but for escapes and what is not ASCII. Line ends stay: no string holds any.
_JSON = bytes(byte if byte in b"\r\n" or byte > 127 else _LETTER for byte in range(256))
#: The same for text that is no JSON, where blanks and punctuation say what it was: HTML, say.
_PROSE = bytes(_LETTER if chr(byte).isalnum() and byte < 128 else byte for byte in range(256))

# A character of each length in UTF-8: é, 中 and 😀, for whatever character of that length stood there.
_SEQUENCES = {2: b"\xc3\xa9", 3: b"\xe4\xb8\xad", 4: b"\xf0\x9f\x98\x80"}
_STRAY, _NEVER = 0x80, 0xFF


class TextMask:
    """Masks the text of JSON strings. Keeps in mind where inside a character or an escape it is."""

    __slots__ = ("_escape", "_sequence")

    def __init__(self) -> None:
        self._sequence = b""  # what is still to come of a character that is not ASCII
        self._escape = b""  # what there is of an escape

    @property
    def escaping(self) -> bool:
        """Whether the next byte belongs to an escape, and so ends no string."""
        return bool(self._escape)

    def text(self, text: bytes) -> bytes:
        """Mask bytes of a string that hold neither quotes nor backslashes."""
        return self._masked(text, _JSON)

    def prose(self, text: bytes) -> bytes:
        """Mask letters and digits of what is no JSON."""
        return self._masked(text, _PROSE)

    def restart(self) -> None:
        """Another text begins."""
        self._sequence = self._escape = b""

    def _masked(self, text: bytes, table: bytes) -> bytes:
        if not text.isascii():
            return bytes(map(self.wide, text.translate(table)))
        if text:
            self._sequence = b""
        return text.translate(table)

    def wide(self, byte: int) -> int:
        """Mask one byte beyond ASCII: a character of n bytes becomes one of n bytes. ASCII stays."""
        if byte < 0x80:
            self._sequence = b""
            return byte
        if byte < 0xC0:
            filler, self._sequence = self._sequence[:1], self._sequence[1:]
            return filler[0] if filler else _STRAY
        length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        if byte in (0xC0, 0xC1) or byte > 0xF4:
            self._sequence = b""
            return _NEVER
        self._sequence = _SEQUENCES[length][1:]
        return _SEQUENCES[length][0]

    def escape(self, byte: int) -> int:
        r"""Mask one byte of an escape, from its backslash on.

        `\n` and the like become `\/`. `\u` escapes keep what tells how long the character is, in UTF-8 and
        UTF-16: ASCII, two bytes, three bytes, or half of a surrogate pair.
        """
        done, self._sequence = self._escape, b""
        self._escape += bytes((byte,))
        match len(done):
            case 0:
                return byte
            case 1 if byte == ord("u"):
                return byte
            case 1:
                self._escape = b""
                return _SIMPLE_ESCAPE
            case 5:
                self._escape = b""
        return _digit(done[2:].lower(), byte)


def _digit(before: bytes, byte: int) -> int:
    """Filler for a digit of an escape, after the digits `before`; it depends on nothing that comes later."""
    digit = bytes((byte,)).lower()
    match len(before), before[:1]:
        case 0, _:
            # 0 for one or two bytes (or three), d for a surrogate perhaps, else any character of three bytes.
            return byte if digit in b"0d" else ord("4")
        case 1, b"0":
            return ord("0") if digit == b"0" else ord("1") if digit in b"1234567" else ord("9")
        case 1, b"d":
            return ord("0") if digit in b"01234567" else ord("8") if digit in b"89ab" else ord("c")
        case 2, b"0" if before[1:] == b"0":
            return ord("7") if digit in b"01234567" else ord("e")
        case 3, b"0" if before[1:2] == b"0":
            return ord("8") if before[2:] in b"01234567" else ord("9")
    return ord("0")
