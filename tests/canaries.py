"""Made-up secrets, put together from parts so that scanners of repositories do not report this one."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from urllib.parse import quote

from sseguard.recordings.recording import Chunk
from sseguard.redaction.redact import Exchange, Redactor

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_RANDOM = random.Random(20261122)


def _letters(length: int, alphabet: str = _LETTERS) -> str:
    return "".join(_RANDOM.choice(alphabet) for _ in range(length))


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


OPENROUTER = "sk-or" + "-v1-" + _letters(64, "0123456789abcdef")

#: Kind in the placeholder, and a key that looks as real ones do.
KEYS = {
    "openrouter": ("openrouter-key", OPENROUTER),
    "anthropic": ("anthropic-key", "sk-" + "ant-api03-" + _letters(93, _LETTERS + "-_") + "AA"),
    "anthropic-other": ("anthropic-key", "sk-" + "ant-sid01-" + _letters(60)),
    "openai": ("openai-key", "sk-" + _letters(20) + "T3Blbk" + "FJ" + _letters(20)),
    "openai-project": ("openai-key", "sk-" + "proj-" + _letters(156, _LETTERS + "-_")),
    "openai-service": ("openai-key", "sk-" + "svcacct-" + _letters(100, _LETTERS + "-_")),
    "compatible": ("openai-key", "sk-" + _letters(32, "0123456789abcdef")),
    "google": ("google-key", "AI" + "zaSy" + _letters(33, _LETTERS + "-_")),
    "google-token": ("google-token", "ya" + "29." + _letters(120, _LETTERS + "-_")),
    "aws": ("aws-key-id", "AK" + "IA" + _letters(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
    "aws-session": ("aws-key-id", "AS" + "IA" + _letters(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
    "github": ("github-token", "gh" + "p_" + _letters(36)),
    "github-server": ("github-token", "gh" + "s_" + _letters(36)),
    "github-fine": ("github-token", "github" + "_pat_" + _letters(22) + "_" + _letters(59)),
    "gitlab": ("gitlab-token", "gl" + "pat-" + _letters(20)),
    "slack": ("slack-token", "xo" + "xb-" + _letters(12, "0123456789") + "-" + _letters(24)),
    "huggingface": ("huggingface-token", "h" + "f_" + _letters(34)),
    "groq": ("groq-key", "gs" + "k_" + _letters(52)),
    "xai": ("xai-key", "xa" + "i-" + _letters(80)),
    "stripe": ("stripe-key", "sk" + "_live_" + _letters(24)),
    "jwt": ("jwt", ".".join((_part({"alg": "HS256"}), _part({"sub": _letters(12)}), _letters(43, _LETTERS + "-_")))),
}
PEM = (
    "-----BEGIN RSA "  # in two parts, as above
    "PRIVATE KEY-----\n"
    + "".join(_letters(64, _LETTERS + "+/") + "\n" for _ in range(8))
    + "-----END RSA PRIVATE KEY-----"
)

#: Encodings that a secret may meet by accident on its way into a body. `json` is for the inside of a JSON string.
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "percent": lambda text: quote(text, safe=""),
    "percent, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent, twice": lambda text: quote("".join(f"%{byte:02x}" for byte in text.encode()), safe=""),
    "json, all": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "json, punctuation": lambda text: text.replace("-", "\\u002d").replace("_", "\\u005F").replace(".", "\\u002E"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 after user": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 after us": lambda text: base64.b64encode(f"us:{text}".encode()).decode(),
    "base64 after u": lambda text: base64.urlsafe_b64encode(f"u:{text}".encode()).decode(),
    "base64, percent": lambda text: quote(base64.b64encode(text.encode()).decode() + "==", safe=""),
    "base64 of json": lambda text: base64.b64encode(json.dumps({"a": [text]}).encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(b"x" * 40 + b" " + text.encode()).decode().replace("\n", "\\n"),
    "base64, escaped": lambda text: (
        base64.b64encode(text.encode()).decode().replace("=", "\\u003d").replace("/", "\\/")
    ),
}


def exchange(**headers: str) -> Exchange:
    """An exchange of which nothing is known but these headers."""
    return Redactor().exchange("https://openrouter.ai/api/v1/chat/completions", tuple(headers.items()))


def fragments(secret: str, text: bytes, length: int = 8) -> list[str]:
    """What of `secret` is still in `text`, in pieces of `length` characters."""
    pieces = (secret[start : start + length] for start in range(len(secret) - length + 1))
    return [piece for piece in pieces if piece.encode() in text]


def stream(chunks: Iterable[bytes], under: Exchange | None = None) -> list[bytes]:
    """What comes out of a stream for these chunks, of which the n-th comes after n seconds."""
    redactor = (under or exchange()).stream()
    given = list(chunks)
    out: list[Chunk] = []
    for at, chunk in enumerate(given):
        out += redactor.feed(float(at), chunk)
    out += redactor.finish()
    assert [chunk.at for chunk in out] == [float(at) for at in range(len(given))]
    return [chunk.data for chunk in out]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in chunks that begin at `places`; equal places give empty chunks."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
