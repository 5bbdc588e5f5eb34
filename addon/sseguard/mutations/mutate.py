"""Faults on purpose: every mutation by its name, as the command line and `chaos` know them.

    recording = mutate(load(path), "heartbeats-first=3", "cut-after-frames=5")

They are done in the order given, so the one above cuts two frames behind the three heartbeats. From Python the
functions of `faults` and `transport` do the same. A `Spec` says which verdicts the guard can come to, given its
default limits and a healthy recording (`answered` at the end of the body).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sseguard.recordings.recording import Recording, shown
from sseguard.verdicts import Verdict

from . import faults, transport
from .mutation import Mutation, Parameter, Spec
from .shapes import Shape
from .surgery import MutationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MUTATIONS", "Mutation", "MutationError", "Parameter", "Spec", "mutate", "parse_mutation", "parse_mutations"]


def mutate(recording: Recording, *texts: str) -> Recording:
    """The recording with mutations done to it, one after the other. Raises `MutationError`."""
    return parse_mutations(texts)(recording)


def parse_mutation(text: str) -> Mutation:
    """Read `NAME` or `NAME=ARGUMENT`. Raises `MutationError`."""
    name, equals, argument = text.partition("=")
    spec = MUTATIONS.get(name)
    if spec is None:
        raise MutationError(f"Expected a mutation out of {', '.join(MUTATIONS)}, got {shown(name)}.")
    return spec.build(argument if equals else None)


def parse_mutations(texts: Iterable[str]) -> Mutation:
    """Read several, to be done in this order; none at all change nothing. Raises `MutationError`.

    So does the result, and names the one that could not be done.
    """
    mutations = tuple((text, parse_mutation(text)) for text in texts)

    def apply(recording: Recording) -> Recording:
        for text, mutation in mutations:
            try:
                recording = mutation(recording)
            except MutationError as error:
                raise MutationError(f"{text}: {error}") from error
        return recording

    return apply


def _whole(name: str, form: str = "N", *, required: bool = False) -> Parameter:
    return Parameter(name, form, "[0-9]{1,9}", int, "a whole number from 0", required)


def _seconds(*, required: bool = False) -> Parameter:
    return Parameter("seconds", "SECONDS", r"[0-9]{1,9}(?:\.[0-9]{1,9})?", float, "a number from 0", required)


_SHAPE: Final = Parameter(
    "shape", "SHAPE", "|".join(map(re.escape, Shape)), Shape, f"one of {', '.join(Shape)}", required=True
)

_ANSWERED: Final = (Verdict.ANSWERED,)
_CUT: Final = (Verdict.CUT, Verdict.CUT_LATE, Verdict.ANSWERED)

_FAULTS: Final = (
    Spec("empty", faults.empty, "end the body in order, without a byte", (Verdict.EMPTY,)),
    Spec("heartbeats-only", faults.heartbeats_only, "turn every frame into a heartbeat", (Verdict.HEARTBEATS_ONLY,)),
    Spec(
        "heartbeats-first",
        faults.heartbeats_first,
        "begin with N heartbeats, 1 second or SECONDS apart",
        _ANSWERED,
        (_whole("count", required=True), _seconds()),
    ),
    Spec(
        "endless-heartbeats",
        faults.endless_heartbeats,
        f"send {faults.ENDLESS} heartbeats, 1 second or SECONDS apart, then nothing, and never end",
        (Verdict.CLIENT_LEFT,),
        (_seconds(),),
    ),
    Spec("done-only", faults.done_only, "send [DONE] and nothing else", (Verdict.DONE_ONLY,)),
    Spec(
        "missing-finish",
        faults.missing_finish,
        "leave out finish reasons, terminal events and [DONE]",
        (Verdict.TRUNCATED,),
    ),
    Spec(
        "malformed",
        faults.malformed,
        "stop in the middle of the JSON of frame N, or of the first frame that holds any",
        # Behind the first answer frame the guard lets it pass; it is missed where it was the one with the finish.
        (Verdict.MALFORMED, Verdict.ANSWERED, Verdict.TRUNCATED),
        (_whole("number"),),
    ),
    Spec(
        "error",
        faults.error,
        f"report an error after N frames (0) and end; shapes: {', '.join(Shape)}",
        (Verdict.PROVIDER_ERROR, Verdict.PROVIDER_ERROR_LATE),
        (_SHAPE, _whole("after")),
    ),
    Spec("html", faults.html, "send a web server's error page, with the same status and type", (Verdict.MALFORMED,)),
    Spec(
        "json-padded",
        faults.json_padded,
        "send JSON in one piece behind N runs of blanks (10), 1 second or SECONDS apart",
        (Verdict.MALFORMED,),
        (_whole("count"), _seconds()),
    ),
)

_TRANSPORT: Final = (
    Spec(
        "cut-after-frames",
        transport.cut_after_frames,
        "break the connection after N frames, heartbeats counted",
        _CUT,
        (_whole("count", required=True),),
    ),
    Spec(
        "cut-after-bytes",
        transport.cut_after_bytes,
        "break the connection after N bytes of the body, as they were on the wire",
        _CUT,
        (_whole("count", required=True),),
    ),
    Spec(
        "cut-in-character",
        transport.cut_in_character,
        "break the connection inside the first or Nth character that takes several bytes",
        _CUT,
        (_whole("number"),),
    ),
    Spec(
        "stall",
        transport.stall,
        "send nothing for SECONDS after N frames (0)",
        _ANSWERED,
        (_seconds(required=True), _whole("after")),
    ),
    Spec("glue", transport.glue, "send N frames in one chunk, or all of the body", _ANSWERED, (_whole("count"),)),
    Spec("bytewise", transport.bytewise, "send one byte a chunk", _ANSWERED),
    Spec(
        "rechunk",
        transport.rechunk,
        "send chunks of random sizes, 1 to 64 bytes or to BYTES, the same for the same SEED",
        _ANSWERED,
        (_whole("seed", "SEED", required=True), _whole("largest", "BYTES")),
    ),
    Spec("crlf", transport.crlf, "end all lines in CRLF", _ANSWERED),
    Spec("cr", transport.cr, "end all lines in CR", _ANSWERED),
    Spec("gzip", transport.gzip, "compress the body, flushed with each chunk", _ANSWERED),
)

#: Every mutation by its name.
MUTATIONS: Final[Mapping[str, Spec]] = MappingProxyType({spec.name: spec for spec in (*_FAULTS, *_TRANSPORT)})
