"""Mutations by name: the verdicts they lead to, what holds for all of them, and how they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthy import CHAT, HEALTHY, body, judged, recording
from mutants import CHUNKS, LINES, URL, assert_sound
from sseguard.dialects import Dialect
from sseguard.gate import Limits
from sseguard.mutations import faults, transport
from sseguard.mutations.frames import framed
from sseguard.mutations.mutate import MUTATIONS, MutationError, mutate, parse_mutation, parse_mutations
from sseguard.mutations.prng import SplitMix64
from sseguard.mutations.shapes import Shape
from sseguard.recordings.fixture import dumps
from sseguard.verdicts import Verdict

# --- verdicts ---


@pytest.mark.parametrize("dialect", Dialect)
def test_the_recordings_that_are_mutated_here_are_healthy(dialect: Dialect) -> None:
    assert judged(HEALTHY[dialect]) is Verdict.ANSWERED


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("empty", "empty"),
        ("heartbeats-only", "heartbeats_only"),
        ("heartbeats-first=3", "answered"),
        ("heartbeats-first=100:2.5", "answered"),
        ("endless-heartbeats", "client_left"),
        ("endless-heartbeats=15", "client_left"),
        ("done-only", "done_only"),
        ("missing-finish", "truncated"),
        ("malformed", "malformed"),
        ("html", "malformed"),
        ("json-padded", "malformed"),
        ("json-padded=0", "malformed"),
        ("json-padded=3:0.5", "malformed"),
        ("cut-after-frames=0", "cut"),
        ("cut-after-bytes=0", "cut"),
        ("cut-after-bytes=1", "cut"),
        ("cut-in-character=3", "cut_late"),
        ("stall=30", "answered"),
        ("stall=100", "answered"),
        ("stall=100:3", "answered"),
        ("glue", "answered"),
        ("glue=1", "answered"),
        ("glue=2", "answered"),
        ("bytewise", "answered"),
        ("rechunk=7", "answered"),
        ("rechunk=7:1000", "answered"),
        ("crlf", "answered"),
        ("cr", "answered"),
        ("gzip", "answered"),
        ("error=openai", "provider_error"),
        ("error=openrouter", "provider_error"),
        ("error=anthropic", "provider_error"),
        ("error=gemini", "provider_error"),
        ("error=responses", "provider_error"),
        ("error=llama.cpp", "provider_error"),
    ],
)
def test_a_mutated_stream_gets_the_verdict_that_its_fault_deserves(dialect: Dialect, text: str, verdict: str) -> None:
    mutated = mutate(HEALTHY[dialect], text)
    assert judged(mutated) == verdict
    assert judged(mutated) in MUTATIONS[text.partition("=")[0]].verdicts


@pytest.mark.parametrize("dialect", Dialect)
def test_every_error_behind_the_first_answer_is_a_late_one(dialect: Dialect) -> None:
    healthy = HEALTHY[dialect]
    for shape in Shape:
        if shape is not Shape.RESPONSE_FAILED or dialect is Dialect.RESPONSES:
            count = len(framed(healthy).frames)
            assert judged(mutate(healthy, f"error={shape}:{count}")) is Verdict.PROVIDER_ERROR_LATE


#: From which count of frames on the connection may break behind an answer, and from which behind a complete one.
BREAKS = {
    Dialect.CHAT: "cut cut cut cut_late cut_late answered answered answered",
    Dialect.RESPONSES: "cut cut cut cut_late cut_late answered",
    Dialect.ANTHROPIC: "cut cut cut cut cut_late cut_late cut_late answered answered",
    Dialect.GEMINI: "cut cut_late cut_late answered",
}


@pytest.mark.parametrize("dialect", Dialect)
def test_a_cut_behind_any_number_of_frames_is_early_or_late_or_too_late_to_matter(dialect: Dialect) -> None:
    found = [judged(mutate(HEALTHY[dialect], f"cut-after-frames={n}")) for n in range(len(BREAKS[dialect].split()))]
    assert " ".join(found) == BREAKS[dialect]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_malformed_frame_counts_only_before_the_first_answer(dialect: Dialect) -> None:
    expected = {
        Dialect.CHAT: {2: "malformed", 3: "malformed", 4: "answered", 5: "answered", 6: "answered"},
        Dialect.RESPONSES: {1: "malformed", 2: "malformed", 3: "malformed", 4: "answered", 5: "truncated"},
        Dialect.ANTHROPIC: {1: "malformed", 2: "malformed", 4: "malformed", 5: "answered", 7: "answered"},
        Dialect.GEMINI: {1: "malformed", 2: "answered", 3: "truncated"},
    }[dialect]
    assert {n: judged(mutate(HEALTHY[dialect], f"malformed={n}")) for n in expected} == expected


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("text", "limits", "verdict"),
    [
        ("stall=30", Limits(answer_timeout=20), Verdict.TIMED_OUT),
        ("stall=30:100%", Limits(idle_timeout=20), Verdict.ANSWERED),
        ("stall=30:mid", Limits(idle_timeout=20), Verdict.TIMED_OUT_LATE),
        ("endless-heartbeats", Limits(answer_timeout=600), Verdict.TIMED_OUT),
        ("endless-heartbeats=0", Limits(answer_timeout=600), Verdict.TIMED_OUT),
        ("heartbeats-first=70", Limits(answer_timeout=60), Verdict.TIMED_OUT),
    ],
)
def test_a_stream_that_stalls_runs_into_the_guards_time_limits(
    dialect: Dialect, text: str, limits: Limits, verdict: Verdict
) -> None:
    count = len(framed(HEALTHY[dialect]).frames)
    answered = BREAKS[dialect].split().index("cut_late")
    text = text.replace("100%", str(count)).replace("mid", str(answered))
    assert judged(mutate(HEALTHY[dialect], text), limits) is verdict


def _pairs(first: st.SearchStrategy[object], second: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return st.tuples(first, second).map(lambda pair: f"={pair[0]}:{pair[1]}")


def arguments(name: str, dialect: Dialect) -> st.SearchStrategy[str]:
    """Arguments that are possible for the healthy recording of a dialect."""
    texts = framed(HEALTHY[dialect]).frames
    count = st.integers(0, len(texts))
    shapes = [shape for shape in Shape if shape is not Shape.RESPONSE_FAILED or dialect is Dialect.RESPONSES]
    return {
        "heartbeats-first": _pairs(st.integers(0, 40), st.integers(0, 3)),
        "json-padded": _pairs(st.integers(0, 40), st.integers(0, 3)),
        "endless-heartbeats": st.sampled_from(["", "=0", "=0.5"]),
        "malformed": st.sampled_from([f"={n}" for n, text in enumerate(texts, 1) if b"data: {" in text]),
        "error": _pairs(st.sampled_from(shapes), count),
        "cut-after-frames": count.map("={}".format),
        "cut-after-bytes": st.integers(0, len(body(HEALTHY[dialect]))).map("={}".format),
        "cut-in-character": st.sampled_from(["", "=1", "=2", "=3", "=4"]),
        "stall": _pairs(st.integers(0, 200), count),
        "glue": st.sampled_from(["", "=1", "=3", "=100"]),
        "rechunk": _pairs(st.integers(0, 10**9 - 1), st.integers(1, 400)),
    }.get(name, st.just(""))


@given(st.data(), st.sampled_from(Dialect), st.sampled_from(sorted(MUTATIONS)))
def test_no_argument_leads_to_a_verdict_that_the_table_does_not_name(
    data: st.DataObject, dialect: Dialect, name: str
) -> None:
    text = name + data.draw(arguments(name, dialect))
    mutated = mutate(HEALTHY[dialect], text)
    assert judged(mutated) in MUTATIONS[name].verdicts


# --- what holds for all of them ---


@given(st.data(), st.sampled_from(Dialect), st.lists(st.sampled_from(sorted(MUTATIONS)), max_size=3))
def test_any_mutations_in_any_order_give_a_recording_that_can_be_written_and_read(
    data: st.DataObject, dialect: Dialect, names: list[str]
) -> None:
    original = mutated = HEALTHY[dialect]
    written = dumps(original)
    for name in names:
        text = name + data.draw(arguments(name, dialect))
        try:
            mutated = mutate(mutated, text)
        except MutationError as error:
            assert str(error).startswith(f"{text}: Expected ")  # noqa: PT017 (not every order can be done)
    assert_sound(mutated)
    assert dumps(original) == written


@given(st.sampled_from(Dialect), st.sampled_from(["bytewise", "glue", "glue=1", "glue=2", "rechunk=3:90", "stall=4:2"]))
def test_other_chunks_hold_the_same_bytes(dialect: Dialect, text: str) -> None:
    assert body(mutate(HEALTHY[dialect], text)) == body(HEALTHY[dialect])


@given(CHUNKS, st.sampled_from(["bytewise", "glue", "glue=2", "rechunk=1", "rechunk=9:3", "stall=1:0"]))
def test_other_chunks_hold_the_same_bytes_whatever_they_are(data: list[bytes], text: str) -> None:
    original = recording(URL, *data)
    mutated = mutate(original, text)
    assert body(mutated) == b"".join(data)
    assert_sound(mutated)


@given(
    st.lists(st.lists(LINES, max_size=5).map(b"".join), max_size=10),
    st.sampled_from(sorted(MUTATIONS)),
    st.sampled_from(["", "=1", "=0", "=2:1", "=openai:1", "=llama.cpp:2"]),
)
def test_whatever_the_bytes_a_mutation_is_done_or_refused(data: list[bytes], name: str, argument: str) -> None:
    original = recording(URL, *data)
    try:
        mutated = mutate(original, name + argument)
    except MutationError as error:
        assert "Expected " in str(error)  # noqa: PT017 (both outcomes are right)
    else:
        assert_sound(mutated)


@pytest.mark.parametrize(
    "text", sorted(f"{name}{'=1' if MUTATIONS[name].needs_argument else ''}" for name in MUTATIONS if name != "error")
)
def test_a_mutation_does_the_same_each_time(text: str) -> None:
    assert mutate(CHAT, text) == mutate(CHAT, text)


@given(st.integers(0, 10**9 - 1))
def test_random_chunks_depend_on_the_seed_alone(seed: int) -> None:
    assert transport.rechunk(CHAT, seed) == transport.rechunk(CHAT, seed)


def test_other_seeds_give_other_chunks() -> None:
    assert len({transport.rechunk(CHAT, seed).chunks for seed in range(50)}) == 50


def test_random_numbers_are_those_of_the_published_generator() -> None:
    chance = SplitMix64(1234567)
    assert [chance.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.integers(), st.integers(1, 10**6))
def test_random_numbers_stay_below_their_limit(seed: int, limit: int) -> None:
    chance = SplitMix64(seed)
    assert 0 <= chance.below(limit) < limit
    assert 0 <= chance.unit() < 1


# --- names and arguments ---


@pytest.mark.parametrize(
    ("name", "form"),
    [("empty", ""), ("cut-after-frames", "N"), ("malformed", "[N]"), ("heartbeats-first", "N[:SECONDS]"),
     ("json-padded", "[N[:SECONDS]]"), ("error", "SHAPE[:N]"), ("rechunk", "SEED[:BYTES]"), ("stall", "SECONDS[:N]")],
)  # fmt: skip
def test_the_form_of_an_argument_says_what_may_be_left_out(name: str, form: str) -> None:
    assert MUTATIONS[name].form == form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("empty=1", "Expected empty without an argument, got '1'."),
        ("empty=", "Expected empty without an argument, got ''."),
        ("stall", "Expected stall=SECONDS[:N], got no argument."),
        ("stall=", "Expected stall=SECONDS[:N] with a number from 0 for SECONDS, got ''."),
        ("stall=nan", "Expected stall=SECONDS[:N] with a number from 0 for SECONDS, got 'nan'."),
        ("stall=1:", "Expected stall=SECONDS[:N] with a whole number from 0 for N, got ''."),
        ("stall=1:2:3", "Expected stall=SECONDS[:N] with a whole number from 0 for N, got '2:3'."),
        ("glue=-1", "Expected glue=[N] with a whole number from 0 for N, got '-1'."),
        ("glue=٣", "Expected glue=[N] with a whole number from 0 for N, got '٣'."),
        ("glue=1\n", r"Expected glue=[N] with a whole number from 0 for N, got '1\n'."),
        ("error=azure", f"Expected error=SHAPE[:N] with one of {', '.join(Shape)} for SHAPE, got 'azure'."),
        ("error=llamaXcpp", f"Expected error=SHAPE[:N] with one of {', '.join(Shape)} for SHAPE, got 'llamaXcpp'."),
    ],
)  # fmt: skip
def test_an_argument_of_another_form_is_refused_with_the_form(text: str, message: str) -> None:
    with pytest.raises(MutationError) as caught:
        parse_mutation(text)
    assert str(caught.value) == message


def test_an_unknown_name_is_refused_with_all_that_are_known_and_cannot_harm_a_terminal() -> None:
    with pytest.raises(MutationError) as caught:
        parse_mutations(["empty", "\x1b[2J=1"])
    assert str(caught.value).startswith("Expected a mutation out of empty, heartbeats-only, ")
    assert str(caught.value).endswith(", gzip, got '\\x1b[2J'.")


def test_mutations_are_done_in_the_order_given() -> None:
    cut_first = mutate(CHAT, "cut-after-frames=3", "heartbeats-first=2")
    cut_last = mutate(CHAT, "heartbeats-first=2", "cut-after-frames=3")
    assert (len(cut_first.chunks), len(cut_last.chunks)) == (5, 3)
    assert mutate(CHAT) is CHAT
    assert parse_mutations(["empty"])(CHAT) == faults.empty(CHAT)


def test_gzip_and_then_frames_come_out_as_plain_text() -> None:
    assert mutate(CHAT, "gzip", "cut-after-frames=3") == transport.cut_after_frames(CHAT, 3)


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_every_mutation_is_named_after_its_function_and_explained(name: str) -> None:
    spec = MUTATIONS[name]
    assert spec.name == spec.function.__name__.replace("_", "-") == name
    assert spec.help
    assert spec.verdicts
    assert spec.needs_argument is (spec.form[:1] not in ("", "["))
