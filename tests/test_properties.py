"""What holds for every stream, in every chunking, whatever happens and in whatever order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from reference import Story, blocks, dispatch, verdict_at_cut, verdict_at_end
from samples import COMMENT, SAMPLES
from sseguard.codings import CodingError, Decoder
from sseguard.dialects import Dialect, Kind, may_be_end, may_be_error, read
from sseguard.gate import Abort, Action, Call, End, Gate, Limits, Refuse, Relay, State
from sseguard.sse import BOM, BlockSplitter, CommentStripper
from sseguard.verdicts import Verdict
from strategies import CODING, CODINGS, DIALECTS, LIMITS, chunkings, compress, json_blocks, one_by_one, streams

HOLD_FOREVER = Limits(hold_seconds=1e9)


class Client:
    """What a client makes of a gate's actions. Fails on any action that is out of order."""

    def __init__(self) -> None:
        self.body = b""
        self.has_headers = False
        self.last: Action | None = None

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            assert self.last is None, "nothing comes behind the last action"
            match action:
                case Relay(part):
                    assert part or not self.has_headers, "an empty chunk would end the body"
                    self.has_headers = True
                    self.body += part
                case Refuse():
                    assert not self.has_headers, "the status is out already"
                    self.last = action
                case End(part):
                    self.has_headers = True
                    self.body += part
                    self.last = action
                case Abort():
                    assert self.has_headers, "there is still a status to tell"
                    self.last = action


def play(gate: Gate, chunks: list[bytes], finish: Callable[[Gate], list[Action]]) -> Client:
    client = Client()
    gate.opened(Decoder(""), 0.0)
    for chunk in chunks:
        client.take(gate.feed(chunk, 1.0))
    client.take(finish(gate))
    return client


def end(gate: Gate, now: float = 2.0) -> list[Action]:
    return gate.end(now)


def cut(gate: Gate, now: float = 2.0) -> list[Action]:
    return gate.cut("reset", now)


def left(gate: Gate, now: float = 2.0) -> list[Action]:
    gate.left(now)
    return []


def tick(gate: Gate, now: float) -> list[Action]:
    return gate.tick(now)


# --- the splitter ---


@given(st.data())
def test_blocks_are_those_of_the_reference_in_any_chunking(draw: DataObject) -> None:
    body = draw.draw(streams(Dialect.CHAT))
    expected = blocks(body)
    for chunks in (draw.draw(chunkings(body)), one_by_one(body), [body]):
        splitter = BlockSplitter()
        found = [block for chunk in chunks for block in splitter.feed(chunk)]
        assert found == expected.complete
        assert splitter.rest() == expected.rest
        assert splitter.pending == len(body) - expected.safe


@given(streams(Dialect.ANTHROPIC))
def test_blocks_hold_all_that_an_event_source_would_dispatch(body: bytes) -> None:
    complete = b"".join(block + b"\n\n" for block in BlockSplitter().feed(body))
    assert dispatch(b"\n" + complete) == dispatch(body)


@given(st.data(), st.integers(0, 40))
def test_an_unfinished_block_takes_no_more_than_the_limit(draw: DataObject, limit: int) -> None:
    body = draw.draw(streams(Dialect.CHAT))
    splitter = BlockSplitter(limit)
    for chunk in draw.draw(chunkings(body)):
        splitter.feed(chunk)
        assert len(splitter.rest()) <= limit + 1  # the colon of a comment that was given up


@given(st.data(), st.integers(0, 40))
def test_the_place_between_two_blocks_does_not_depend_on_the_limit(draw: DataObject, limit: int) -> None:
    body = draw.draw(streams(Dialect.CHAT))
    small, large = BlockSplitter(limit), BlockSplitter()
    for chunk in draw.draw(chunkings(body)):
        small.feed(chunk)
        large.feed(chunk)
        assert small.pending == large.pending


@given(st.data())
def test_stripping_comments_takes_them_out_and_changes_no_event(draw: DataObject) -> None:
    body = draw.draw(streams(Dialect.CHAT))
    stripper = CommentStripper()
    stripped = b"".join(map(stripper.feed, draw.draw(chunkings(body))))
    # A byte order mark behind a comment is none, until the comment is gone. Nobody sends that.
    start = b"" if body.startswith(BOM) else b"\n"
    assert dispatch(start + stripped) == dispatch(start + body)
    assert not any(line.startswith(b":") for line in stripped.removeprefix(BOM).splitlines())
    assert stripped == CommentStripper().feed(body)


# --- the gate ---


@given(st.data(), DIALECTS, st.integers(1, 3))
def test_at_the_end_the_verdict_and_the_bytes_are_those_of_the_reference(
    draw: DataObject, dialect: Dialect, choices: int
) -> None:
    body = draw.draw(streams(dialect))
    expected = verdict_at_end(dialect, body, choices)
    for chunks in (draw.draw(chunkings(body)), one_by_one(body), [body]):
        gate = Gate(Call(dialect, choices=choices), HOLD_FOREVER, 0.0)
        client = play(gate, chunks, end)
        assert gate.verdict is expected
        answered = Story(dialect, body, choices, with_rest=True).answered
        assert client.body == (body if answered else b"")
        assert isinstance(client.last, End if answered else Refuse)


@given(st.data(), DIALECTS, st.sampled_from((0, 1, 30, 200)))
def test_at_the_end_the_verdict_is_the_same_however_little_is_held(
    draw: DataObject, dialect: Dialect, hold_bytes: int
) -> None:
    body = draw.draw(streams(dialect))
    gate = Gate(Call(dialect), Limits(hold_bytes=hold_bytes), 0.0)
    play(gate, draw.draw(chunkings(body)), end)
    assert gate.verdict is verdict_at_end(dialect, body)


@given(st.data(), DIALECTS, st.integers(1, 3))
def test_at_a_cut_the_verdict_and_the_bytes_are_those_of_the_reference(
    draw: DataObject, dialect: Dialect, choices: int
) -> None:
    body = draw.draw(streams(dialect))
    expected = verdict_at_cut(dialect, body, choices)
    for chunks in (draw.draw(chunkings(body)), one_by_one(body), [body]):
        gate = Gate(Call(dialect, choices=choices), HOLD_FOREVER, 0.0)
        client = play(gate, chunks, cut)
        assert gate.verdict is expected
        if expected in (Verdict.ANSWERED, Verdict.CUT_LATE, Verdict.PROVIDER_ERROR_LATE):
            assert isinstance(client.last, End)
            assert client.body.startswith(body[: blocks(body).safe])
        else:
            assert isinstance(client.last, Refuse)


@given(st.data(), DIALECTS)
def test_a_client_that_leaves_has_got_all_complete_frames_and_the_verdict_says_if_they_were_all(
    draw: DataObject, dialect: Dialect
) -> None:
    body = draw.draw(streams(dialect))
    gate = Gate(Call(dialect), HOLD_FOREVER, 0.0)
    client = play(gate, draw.draw(chunkings(body)), left)
    story = Story(dialect, body)
    if story.early is None:
        assert client.body == (body[: story.parsed.safe] if story.answered else b"")
        late = Verdict.PROVIDER_ERROR_LATE if story.late_error else Verdict.ANSWERED
        assert gate.verdict is (late if story.answered and story.settled else Verdict.CLIENT_LEFT)


def acts(draw: DataObject, chunks: list[bytes]) -> Iterator[Callable[..., list[Action]]]:
    """Chunks with anything between them and anything behind them, more than once."""
    for chunk in chunks:
        if draw.draw(st.integers(0, 4)) == 0:
            yield tick
        yield partial(Gate.feed, chunk=chunk)
    while draw.draw(st.booleans()):
        yield draw.draw(st.sampled_from((tick, end, cut, left)))


@given(st.data(), DIALECTS, LIMITS, CODING, st.booleans())
def test_anything_in_any_order_gives_legal_actions_and_never_half_a_frame_before_an_error(
    draw: DataObject, dialect: Dialect, limits: Limits, coding: str, held: bool
) -> None:
    body = draw.draw(streams(dialect))
    wire = compress(coding, body)
    gate, client, now = Gate(Call(dialect), limits, 0.0), Client(), 0.0
    gate.opened(Decoder(coding), now, held=held)
    client.has_headers = not held
    for act in acts(draw, draw.draw(chunkings(wire))):
        now += draw.draw(st.sampled_from((0.0, 0.5, 1.0, 2.0)))
        before = gate.state, gate.verdict, gate.deadline
        actions = act(gate, now=now)
        client.take(actions)
        assert gate._outlet.size <= (0 if gate.state is State.OVER else limits.hold_bytes)
        if before[0] is State.OVER:
            assert not actions
            assert (gate.state, gate.verdict, gate.deadline) == before
    assert (gate.verdict is None) == (gate.state is not State.OVER)
    if coding and not limits.strip_comments:
        assert wire.startswith(client.body)
    else:
        check_events(gate, client, body)


def check_events(gate: Gate, client: Client, body: bytes) -> None:
    """The client sees the first of upstream's events, whole, and our error behind them if there is one."""
    got, sent = dispatch(client.body), dispatch(body + b"\n\n")
    if isinstance(client.last, End) and gate.failure is not None and client.body:
        told = json.loads(got.pop().data)
        assert told["error"]["metadata"]["reason"] == gate.verdict
    assert got == sent[: len(got)]


@given(st.data(), DIALECTS, st.sampled_from(CODINGS), LIMITS)
def test_a_healthy_stream_passes_byte_for_byte(draw: DataObject, dialect: Dialect, coding: str, limits: Limits) -> None:
    limits = Limits(limits.hold_seconds, limits.hold_bytes, truncated_is_error=limits.truncated_is_error)
    sample = SAMPLES[dialect]
    quiet = st.lists(st.sampled_from((COMMENT, b":\n", b"event: ping\ndata: {}\n\n", sample.preamble)), max_size=3)
    answer = st.lists(st.sampled_from((COMMENT, sample.answer, sample.more)), min_size=1, max_size=5)
    pieces = [*draw.draw(quiet), sample.answer, *draw.draw(answer), sample.finish]
    body = b"".join(pieces).replace(b"\n", draw.draw(st.sampled_from((b"\n", b"\r\n", b"\r"))))
    wire = compress(coding, body)
    gate = Gate(Call(dialect), limits, 0.0)
    client = Client()
    gate.opened(Decoder(coding), 0.0)
    for chunk in draw.draw(chunkings(wire)):
        client.take(gate.feed(chunk, 1.0))
        client.take(gate.tick(1.0))
    client.take(gate.end(2.0))
    assert client.body == wire
    assert isinstance(client.last, End)
    assert gate.verdict is Verdict.ANSWERED


# --- reading ---


@given(json_blocks(), DIALECTS)
@example(b"data: [DONE] ", Dialect.CHAT)
@example(b"data: [DONE]\nid: 3", Dialect.CHAT)
@example(b'data: {"choices":[{"finish_reason":1}]}', Dialect.CHAT)
@example(b'data: {"type":"response.failed"}', Dialect.RESPONSES)
@example(b"error: it broke", Dialect.CHAT)
def test_the_cheap_look_misses_no_error_and_no_end(block: bytes, dialect: Dialect) -> None:
    frame = read(block, dialect)
    if frame.kind is Kind.ERROR or frame.finished or frame.final:
        assert may_be_error(block) or may_be_end(block, dialect)


@given(st.one_of(st.binary(max_size=60), json_blocks()), DIALECTS)
def test_reading_never_raises(block: bytes, dialect: Dialect) -> None:
    frame = read(block, dialect)
    assert (frame.error is not None) == (frame.kind is Kind.ERROR)


@given(st.binary(max_size=200), st.sampled_from(CODINGS[1:]), st.data())
def test_a_decoder_raises_nothing_but_its_own_error(body: bytes, coding: str, draw: DataObject) -> None:
    damaged = bytearray(compress(coding, body) + b"\0")
    damaged[draw.draw(st.integers(0, len(damaged) - 1))] ^= draw.draw(st.integers(0, 255))
    decoder = Decoder(coding)
    with contextlib.suppress(CodingError):
        for chunk in draw.draw(chunkings(bytes(damaged))):
            decoder.feed(chunk)


@given(st.data(), st.sampled_from(CODINGS[1:]))
def test_decoding_undoes_encoding_in_any_chunking(draw: DataObject, coding: str) -> None:
    body = draw.draw(streams(Dialect.CHAT))
    decoder = Decoder(coding)
    assert b"".join(map(decoder.feed, draw.draw(chunkings(compress(coding, body))))) == body
