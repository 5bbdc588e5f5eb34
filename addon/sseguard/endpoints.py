"""Which requests ask for a generated answer, told by their path, and in which dialect the answer comes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .dialects import Dialect

#: The form of a pattern, for messages.
FORM = "/path/ending[=dialect] with * for one path segment, such as /v1/generate or /*/invoke=anthropic"

_PATTERN = re.compile(r"(?P<path>[/:][^\s?#=]*[^\s?#=/])/*(?:=(?P<dialect>\w+))?")


class PatternError(ValueError):
    """Raised when a path pattern cannot be read. The message shows the value and the form expected."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path ending that asks for an answer.

    Attributes:
        ending: what the path ends with, from a slash or a colon on; `*` stands for one segment.
        dialect: how the answer's stream reads.
    """

    ending: str
    dialect: Dialect

    def matches(self, path: str) -> bool:
        """Whether a request to `path` (with or without a query) asks for this."""
        bare = path.partition("?")[0].rstrip("/")
        if "*" not in self.ending:
            return bare.endswith(self.ending)
        pattern = "[^/]+".join(map(re.escape, self.ending.split("*")))
        return re.search(pattern + r"\Z", bare) is not None


BUILT_IN = (
    Endpoint("/chat/completions", Dialect.CHAT),
    Endpoint("/completions", Dialect.CHAT),
    Endpoint("/responses", Dialect.RESPONSES),
    Endpoint("/messages", Dialect.ANTHROPIC),
    Endpoint(":streamGenerateContent", Dialect.GEMINI),
)


def parse_endpoint(value: str) -> Endpoint:
    """Read a pattern of the form `FORM`; the dialect is `chat` if not given. Raises: PatternError."""
    match = _PATTERN.fullmatch(value)
    if match is None:
        raise PatternError(f"Expected a pattern of the form {FORM}, got {value!r}.")
    try:
        dialect = Dialect(match["dialect"] or Dialect.CHAT)
    except ValueError as e:
        names = ", ".join(Dialect)
        raise PatternError(f"Expected a dialect of {names}, got {match['dialect']!r} in {value!r}.") from e
    return Endpoint(match["path"], dialect)


def find(path: str, more: Iterable[Endpoint] = ()) -> Endpoint | None:
    """The endpoint that a request to `path` asks, the user's own first; None if it asks for no answer."""
    return next((endpoint for endpoint in (*more, *BUILT_IN) if endpoint.matches(path)), None)
