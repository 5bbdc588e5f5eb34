"""What a request asks for: which models, how many answers, as a stream or not. Read once, never changed."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .routes import segments

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEYS = ("model", "models", "stream", "n")
_JSON_SPACE = " \t\n\r"  # RFC 8259 section 2
# Google's methods, https://ai.google.dev/api/generate-content
_GEMINI_PATH = re.compile(r"(?P<model>.+):(?:g|streamG)enerateContent", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the guard wants to know of a request.

    Attributes:
        models: every model id, as sent, without repeats: the path's first, then `model`'s, then those of `models`.
        stream: whether a stream is asked for, None if the body does not say.
        n: how many answers are asked for, None if the body does not say.
        duplicates: which of these keys the body holds more than once. Providers differ on which of the values they
            read (RFC 8259 section 4), so `models` has all of them; `stream` and `n` are the last, as most read it.
    """

    models: tuple[str, ...] = ()
    stream: bool | None = None
    n: int | None = None
    duplicates: tuple[str, ...] = ()


def models_in(body: bytes, path: str) -> Asked:
    """Read a request's body (decoded from any content encoding) and path. Never raises.

    A body that is not a JSON object in UTF-8, UTF-16 or UTF-32, or nests deeper than Python can follow, says nothing.
    """
    members = _members(body)
    last = dict(members)
    stream, n = last.get("stream"), last.get("n")
    count = Counter(key for key, _ in members)
    return Asked(
        models=tuple(dict.fromkeys((*_models_in_path(path), *_models_in_members(members)))),
        stream=stream if isinstance(stream, bool) else None,
        n=n if isinstance(n, int) and not isinstance(n, bool) else None,
        duplicates=tuple(key for key in _KEYS if count[key] > 1),
    )


def _members(body: bytes) -> list[tuple[str, object]]:
    """The members of the JSON object `body`, in order and with repeats; none if it is not one."""
    # Lenient like Go's and JavaScript's decoders: a broken character in a prompt must not hide the model beside it.
    text = body.decode(json.detect_encoding(body), "replace")
    if not text.lstrip(_JSON_SPACE).startswith("{"):
        return []
    try:
        members: list[tuple[str, object]] = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return []
    return members


def _models_in_members(members: list[tuple[str, object]]) -> Iterator[str]:
    yield from (value for key, value in members if key == "model" and isinstance(value, str))
    for key, value in members:
        if key == "models" and isinstance(value, list):
            yield from (model for model in value if isinstance(model, str))


def _models_in_path(path: str) -> Iterator[str]:
    """The model in a Gemini path, `…/models/{model}:streamGenerateContent`."""
    parts = segments(path)
    if "models" in parts and (match := _GEMINI_PATH.fullmatch("/".join(parts[parts.index("models") + 1 :]))):
        yield match["model"]


def _pairs(pairs: list[tuple[str, object]]) -> list[tuple[str, object]]:
    return pairs


def _integer(digits: str) -> int | None:
    # Longer ones take quadratic time, and Python refuses 4,300 digits, which JSON allows.
    return int(digits) if len(digits) < 20 else None


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer)
