"""Streams that stop at each of their bytes, and a check that the client gets what it should."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fault_streams import STREAMS, Expected, Fate, Stream, bodies, expected, verdict_on_leaving, wire
from harness.apis import ANTHROPIC
from harness.asking import Got
from harness.breaking import Play, Then
from harness.many import Ask, Many, Out

#: All streams in all codings.
ALL = [(stream, coding) for stream in STREAMS for coding in ("identity", "gzip")]
#: All streams as they are.
PLAIN = [(stream, "identity") for stream in STREAMS]
#: One stream, in all codings.
CHAT = ALL[:2]


@dataclass(frozen=True)
class Case:
    """A stream of which so much of the body was sent, and how."""

    stream: Stream
    coding: str
    sent: bytes
    fate: Fate
    play: Play

    @property
    def ask(self) -> Ask:
        return Ask(self.stream.api, self.play)

    @property
    def expected(self) -> Expected:
        return expected(self.stream, self.coding, self.sent, self.fate)

    def __str__(self) -> str:
        return f"{self.stream} {self.coding} {self.play.then.name} behind {self.play.sent!r}"


def _check(cases: list[Case], outcomes: list[tuple[Got, str]]) -> None:
    wrong = []
    for case, (got, verdict) in zip(cases, outcomes, strict=True):
        try:
            _assert_is(case, got, verdict)
        except AssertionError as e:
            wrong.append(f"{case}\nExpected {case.expected}, got {verdict} {got}\n{e}")
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n\n".join(wrong[:5])


def _assert_is(case: Case, got: Got, verdict: str) -> None:
    """It is what is expected."""
    wanted = case.expected
    assert (got.status, verdict, got.whole) == (wanted.status, wanted.verdict, wanted.whole)
    if wanted.status != 200:
        assert got.headers["content-type"] == "application/json"
        whole_error = json.loads(got.body)
        error = whole_error["error"]
        assert whole_error.get("type") == ("error" if case.stream.api is ANTHROPIC else None)
        assert error.get("code", got.status) == got.status
        assert got.headers["x-sseguard"] == error["metadata"]["reason"] == verdict
        assert error["metadata"]["bytes"] == len(case.sent)
        return
    assert got.headers["content-type"] == "text/event-stream"
    assert got.headers.get("content-encoding", "identity") == case.coding
    assert got.body.startswith(wanted.body)
    rest = got.body.removeprefix(wanted.body)
    if wanted.told:
        error = case.stream.api.late_error(rest)
        assert error["metadata"]["reason"] == verdict
        assert error["metadata"]["bytes"] == len(case.sent)
    else:
        assert rest == b""


def on_the_wire(stream: Stream, coding: str, then: Then) -> Iterator[Case]:
    """HTTP/1.1, stopped at each byte: of the headers for one stream, of the body for all."""
    head, body = wire(stream, coding)
    fate = Fate.SILENT if then is Then.SILENCE else Fate.CUT
    if stream is STREAMS[0] and coding == "identity":
        for offset in range(len(head)):
            yield Case(stream, coding, b"", fate, Play(head[:offset], then))
    for offset, sent in enumerate(bodies(stream, coding)):
        if offset < len(body):
            yield Case(stream, coding, sent, fate, Play(head + body[:offset], then))


def ended(stream: Stream, coding: str) -> Iterator[Case]:
    """HTTP/1.1, with the end of the body at each byte of the stream."""
    head, _ = wire(stream, coding)
    whole = b"".join(stream.body(coding))
    for offset in range(len(whole) + 1):
        sent = whole[:offset]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (offset, sent) if sent else b"0\r\n\r\n"
        yield Case(stream, coding, sent, Fate.ENDED, Play(head + body, Then.END))


def over_http2(stream: Stream, coding: str, then: Then, *codes: int) -> Iterator[Case]:
    """HTTP/2, stopped before the headers, and at each byte of the stream, with each of `codes` in turn."""
    code = itertools.cycle(codes or (0,))
    whole = b"".join(stream.body(coding))
    fate = {Then.SILENCE: Fate.SILENT, Then.END: Fate.ENDED}.get(then, Fate.CUT)
    if fate is not Fate.ENDED:
        yield Case(stream, coding, b"", fate, Play(None, then, coding, next(code)))
    for offset in range(len(whole) + 1):
        yield Case(stream, coding, whole[:offset], fate, Play(whole[:offset], then, coding, next(code)))


def assert_outcomes(many: Many, out: Out, cases: Iterable[Case], *, http2: bool = False) -> None:
    """Every case comes to what is expected."""
    listed = list(cases)
    _check(listed, many.outcomes(out, (case.ask for case in listed), http2=http2))


def assert_silences(many: Many, out: Out, cases: Iterable[Case], *, http2: bool = False) -> None:
    """As `assert_outcomes`, when upstreams fall silent."""
    listed = list(cases)
    _check(listed, many.silences(out, (case.ask for case in listed), http2=http2))


def assert_leavings(many: Many, out: Out, cases: Iterable[Case]) -> None:
    """Upstreams are left, and flows are over, when clients leave in the silence."""
    listed = list(cases)
    verdicts = many.leavings(out, (case.ask for case in listed))
    assert verdicts == [verdict_on_leaving(case.stream, case.coding, case.sent) for case in listed]
