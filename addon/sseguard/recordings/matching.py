"""Which recording answers a request.

Requests are compared by method, endpoint, model, content (the messages, under whatever name the API has for them) and
whether a stream is asked for. Host, base path, query, headers, sampling parameters, key order and ids that clients
make up do not count. How alike two requests are is a `Likeness`, and `Match` says how unlike a recording may be and
still answer. Of all recordings, those most alike answer in the order they were loaded, one per request, the last of
them again and again: empty, empty, answered is how a retry is tested.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .difference import difference, same
from .recording import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .recording import Recording

#: The fields of a body that say what is asked: chat, Responses, Gemini, legacy completions, Anthropic.
CONTENT = (
    "messages",
    "input",
    "contents",
    "prompt",
    "system",
    "instructions",
    "systemInstruction",
    "system_instruction",
)

#: Recordings that a miss names.
MAX_NEAREST = 3


class Match(enum.StrEnum):
    """How far the search may go. Each value also finds what the ones before it find, and prefers that."""

    #: Same endpoint, model and content; or a recording without a request body, which answers any body.
    EXACT = "exact"
    #: Same endpoint and model, whatever the content.
    MODEL = "model"
    #: Same endpoint, whatever the model.
    PATH = "path"


class Likeness(enum.IntEnum):
    """How alike a recorded request and a new one are, the best first."""

    EXACT = 0
    #: The recording has no request body, so it answers any.
    ANY_BODY = 1
    MODEL = 2
    PATH = 3
    NONE = 4


_FURTHEST = {Match.EXACT: Likeness.ANY_BODY, Match.MODEL: Likeness.MODEL, Match.PATH: Likeness.PATH}


@dataclass(frozen=True, slots=True)
class Question:
    """What counts of a request. `content` is what of the body is compared; `None`, only in a recording, is any body."""

    method: str
    endpoint: str
    model: object
    stream: object
    content: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A recording to play."""

    recording: Recording
    likeness: Likeness


@dataclass(frozen=True, slots=True)
class Near:
    """A recording that does not answer, and why not: one line for each difference."""

    name: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """No recording answers. `nearest` has the best first; `str()` is for a person, several lines, escaped."""

    asked: str
    match: Match
    nearest: tuple[Near, ...]

    def __str__(self) -> str:
        lines = [f"Expected a request that a recording answers (match: {self.match}), got {self.asked}."]
        for near in self.nearest:
            lines += [f"  {near.name}", *(f"    {difference}" for difference in near.differences)]
        return "\n".join(lines) if self.nearest else f"{lines[0]} There are no recordings."


class Playlist:
    """Recordings in order, and how far each sequence among them has been played: the only state there is."""

    __slots__ = ("_match", "_questions", "_recordings", "_turns")

    def __init__(self, recordings: Iterable[Recording], match: Match = Match.PATH) -> None:
        self._recordings = tuple(recordings)
        self._questions = tuple(map(_recorded, self._recordings))
        self._match = match
        # A sequence is the places of the recordings that are equally alike for some request.
        self._turns: dict[tuple[int, ...], int] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were asked for in the recordings, in order."""
        models = (recorded.model for recorded in self._questions)
        return tuple(dict.fromkeys(model for model in models if isinstance(model, str)))

    def find(self, method: str, url: str, body: object) -> Hit | Miss:
        """The recording whose turn it is; each call moves its sequence on by one.

        `url` is a URL or a request target, `body` is as in `RecordedRequest`. Takes anything, raises nothing.
        """
        asked = question(method, url, body)
        ranks = [_rank(recorded, asked) for recorded in self._questions]
        best = min(ranks, default=(Likeness.NONE, False))
        if best[0] > _FURTHEST[self._match]:
            # Not the query: it may hold a key.
            line = f"{plain(method)} {plain(url.partition('?')[0], 200)}"
            return Miss(line, self._match, tuple(self._nearest(asked)))
        sequence = tuple(place for place, rank in enumerate(ranks) if rank == best)
        turn = self._turns.get(sequence, 0)
        self._turns[sequence] = min(turn + 1, len(sequence) - 1)
        return Hit(self._recordings[sequence[turn]], best[0])

    def _nearest(self, asked: Question) -> Iterator[Near]:
        def distance(place: int) -> tuple[Likeness, int, bool]:
            recorded = self._questions[place]
            unlike = sum((recorded.endpoint != asked.endpoint, recorded.method != asked.method))
            return likeness(recorded, asked), unlike, not same(recorded.model, asked.model)

        for place in sorted(range(len(self._questions)), key=distance)[:MAX_NEAREST]:
            name = self._recordings[place].name or f"recording {place + 1}"
            yield Near(name, tuple(differences(self._questions[place], asked)))


def question(method: str, url: str, body: object) -> Question:
    """Reduce a request to what counts of it; arguments as for `Playlist.find`."""
    # HEAD asks for what GET would give, RFC 9110 section 9.3.2.
    method = "GET" if method == "HEAD" else method
    endpoint, model = _endpoint(url)
    if not isinstance(body, dict):
        return Question(method, endpoint, model, None, {} if body is None else {"body": body})
    content = {name: _essence(body[name]) for name in CONTENT if name in body}
    return Question(method, endpoint, model or body.get("model"), body.get("stream"), content)


def _recorded(recording: Recording) -> Question:
    request = recording.request
    asked = question(request.method, request.url, request.body)
    if request.body is not None:
        return asked
    return Question(asked.method, asked.endpoint, asked.model, None, None)


def _rank(recorded: Question, asked: Question) -> tuple[Likeness, bool]:
    """The likeness, and whether one streams and the other does not, which decides between equals."""
    return likeness(recorded, asked), _differ_in_stream(recorded, asked)


def likeness(recorded: Question, asked: Question) -> Likeness:
    """How alike two requests are."""
    if recorded.method != asked.method or recorded.endpoint != asked.endpoint:
        return Likeness.NONE
    if recorded.content is None and recorded.model in (None, asked.model):
        return Likeness.ANY_BODY
    if not same(recorded.model, asked.model):
        return Likeness.PATH
    alike = not _differ_in_stream(recorded, asked) and same(recorded.content, asked.content)
    return Likeness.EXACT if alike else Likeness.MODEL


def _differ_in_stream(recorded: Question, asked: Question) -> bool:
    # Recordings written by hand may leave `stream` out, and Gemini says it in the path.
    stated = recorded.stream is not None and asked.stream is not None
    return stated and not same(recorded.stream, asked.stream)


# The end of a path that all base paths share (`/v1`, `/api/v1`, `/openai/deployments/x`, none at all).
_GENERATION = re.compile(r"/(?:chat/completions|completions|responses|messages)\Z")
# Google's custom methods, https://google.aip.dev/136; the segment before the colon is the model.
_GOOGLE = re.compile(r"/([^/:]+)(:[A-Za-z]+)\Z")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*(?=/)")


def _endpoint(url: str) -> tuple[str, str | None]:
    """What the request does, without host, base path and query, and the model if the path names it."""
    origin = _ORIGIN.match(url)
    target = url[origin.end() :] if origin else url
    path = "/" + "/".join(filter(None, unquote(re.split(r"[?#]", target, maxsplit=1)[0]).split("/")))
    if found := _GENERATION.search(path):
        return found[0], None
    if found := _GOOGLE.search(path):
        return found[2], found[1]
    versions = list(_VERSION.finditer(path))
    return path[versions[-1].end() :] if versions else path, None


# Clients and providers make these up anew each time, or they do not change what is asked.
_VOLATILE = frozenset(
    {"id", "call_id", "tool_call_id", "tool_use_id", "created", "created_at", "timestamp", "cache_control"}
)
# Below these it is a tool's data, where an `id` means something.
_DATA = frozenset({"input", "args", "arguments", "output", "response"})
# No API nests messages deeper; below this they are compared as they are.
_DEPTH = 50


def _essence(value: object, depth: int = 0) -> object:
    """`value` without volatile keys."""
    match value:
        case dict() if depth < _DEPTH:
            kept = ((key, part) for key, part in value.items() if key not in _VOLATILE)
            return {key: part if key in _DATA else _essence(part, depth + 1) for key, part in kept}
        case list() if depth < _DEPTH:
            return [_essence(part, depth + 1) for part in value]
        case _:
            return value


def differences(recorded: Question, asked: Question) -> Iterator[str]:
    """What differs, one short line of printable text for each field."""
    pairs: list[tuple[str, object, object]] = [
        ("method", recorded.method, asked.method),
        ("path", recorded.endpoint, asked.endpoint),
    ]
    if recorded.content is not None or recorded.model is not None:
        pairs.append(("model", recorded.model, asked.model))
    if _differ_in_stream(recorded, asked):
        pairs.append(("stream", recorded.stream, asked.stream))
    if recorded.content is not None and asked.content is not None:
        names = (*CONTENT, "body")
        pairs += [(name, recorded.content.get(name), asked.content.get(name)) for name in names]
    for name, ours, theirs in pairs:
        if not same(ours, theirs):
            yield difference(name, ours, theirs)
