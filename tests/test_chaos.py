"""Mutations by chance, and the same each time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthy import CHAT, HEALTHY, recording
from sseguard.dialects import Dialect
from sseguard.mutations.chaos import NAMES, Chaos, Outcome
from sseguard.mutations.mutate import MUTATIONS, MutationError, mutate
from sseguard.recordings.fixture import dumps, loads
from sseguard.recordings.recording import Ending

SEEDS = st.integers(-(2**70), 2**70)


def test_odds_are_read_in_order() -> None:
    assert Chaos.parse("cut=0.1, empty=0.05", seed=7) == Chaos((("cut", 0.1), ("empty", 0.05)), 7)
    assert Chaos.parse("gzip=1").odds == (("gzip", 1.0),)


def test_odds_that_add_up_to_one_are_no_matter_of_rounding() -> None:
    assert len(Chaos.parse(",".join(f"{name}=0.1" for name in NAMES[:10])).odds) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got ''."),
        ("cut", "with a probability from 0 to 1 for cut, got ''."),
        ("cut=", "with a probability from 0 to 1 for cut, got ''."),
        ("cut=1.1", "with a probability from 0 to 1 for cut, got '1.1'."),
        ("cut=-0.1", "with a probability from 0 to 1 for cut, got '-0.1'."),
        ("cut=nan", "with a probability from 0 to 1 for cut, got 'nan'."),
        ("cut=0.1=2", "with a probability from 0 to 1 for cut, got '0.1=2'."),
        ("cut=0.1,,", "got ''."),
        ("\x1b[2J=0.1", "got '\\x1b[2J'."),
    ],
)
def test_odds_of_another_form_are_refused_with_the_form(text: str, message: str) -> None:
    with pytest.raises(MutationError) as caught:
        Chaos.parse(text)
    assert str(caught.value).startswith("Expected NAME=PROBABILITY[,NAME=PROBABILITY…], such as cut=0.1,empty=0.05")
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut=0.7,empty=0.4", "Expected probabilities that add up to 1 at most, got 1.1 in 'cut=0.7,empty=0.4'."),
        ("cut=0.1,cut=0.2", "Expected each name once, got cut again in 'cut=0.1,cut=0.2'."),
    ],
)
def test_odds_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(MutationError) as caught:
        Chaos.parse(text)
    assert str(caught.value) == message


@given(SEEDS, st.integers(0, 10**9), st.sampled_from(Dialect), st.sampled_from(NAMES))
def test_a_strike_can_be_repeated_and_done_by_hand(seed: int, index: int, dialect: Dialect, name: str) -> None:
    outcome = Chaos(((name, 1.0),), seed).strike(HEALTHY[dialect], index)
    assert outcome == Chaos(((name, 1.0),), seed).strike(HEALTHY[dialect], index)
    assert outcome.problem == ""
    assert outcome.done.partition("=")[0] == ("cut-after-bytes" if name == "cut" else name)
    assert outcome.recording == mutate(HEALTHY[dialect], outcome.done)
    assert loads(dumps(outcome.recording)) == loads(dumps(mutate(HEALTHY[dialect], outcome.done)))


@given(SEEDS, st.integers(0, 10**9))
def test_a_stream_that_is_not_struck_is_the_one_recorded(seed: int, index: int) -> None:
    assert Chaos.parse("cut=0", seed).strike(CHAT, index) == Outcome(CHAT)


def test_what_was_struck_is_pinned_for_a_seed() -> None:
    chaos = Chaos.parse("cut=0.25,empty=0.1,error=0.25,stall=0.1", seed=7)
    assert [chaos.strike(CHAT, index).done for index in range(8)] == [
        "error=openai:7",
        "",
        "error=openai:7",
        "error=openai:1",
        "error=openrouter:4",
        "stall=13:4",
        "cut-after-bytes=26",
        "empty",
    ]


def test_streams_are_struck_as_often_as_asked() -> None:
    chaos = Chaos.parse("cut=0.1,empty=0.05,heartbeats-only=0.25", seed=7)
    found = Counter(chaos.strike(CHAT, index).done.partition("=")[0] for index in range(4000))
    assert found.keys() == {"", "cut-after-bytes", "empty", "heartbeats-only"}
    assert found["cut-after-bytes"] == pytest.approx(400, rel=0.15)
    assert found["empty"] == pytest.approx(200, rel=0.2)
    assert found["heartbeats-only"] == pytest.approx(1000, rel=0.1)


def test_other_seeds_strike_other_streams() -> None:
    def struck(seed: int) -> tuple[str, ...]:
        chaos = Chaos.parse("cut=0.5", seed=seed)
        return tuple(chaos.strike(CHAT, index).done for index in range(20))

    assert len({struck(seed) for seed in range(50)}) == 50


def test_a_cut_by_chance_always_takes_something_away() -> None:
    chaos = Chaos.parse("cut=1")
    assert {chaos.strike(recording(CHAT.request.url, b"xy"), index).done for index in range(40)} == {
        "cut-after-bytes=0",
        "cut-after-bytes=1",
    }
    for index in range(200):
        cut = chaos.strike(CHAT, index).recording
        assert cut.end is Ending.CUT
        assert sum(len(chunk.data) for chunk in cut.chunks) < sum(len(chunk.data) for chunk in CHAT.chunks)


def test_an_error_by_chance_is_one_that_the_provider_sends() -> None:
    def shapes(dialect: Dialect) -> set[str]:
        chaos = Chaos.parse("error=1")
        said = (chaos.strike(HEALTHY[dialect], index).done for index in range(60))
        return {text.partition("=")[2].partition(":")[0] for text in said}

    assert shapes(Dialect.CHAT) == {"openai", "openrouter", "llama.cpp"}
    assert shapes(Dialect.RESPONSES) == {"responses", "response.failed"}
    assert shapes(Dialect.ANTHROPIC) == {"anthropic"}
    assert shapes(Dialect.GEMINI) == {"gemini"}


def test_an_answer_that_cannot_be_struck_is_left_alone_with_the_reason() -> None:
    answer = recording(CHAT.request.url, b"{}", headers=(("content-type", "application/json"),))
    for name in ("error", "stall", "cut-after-frames", "malformed"):
        outcome = Chaos(((name, 1.0),)).strike(answer, 0)
        assert (outcome.recording, outcome.done) == (answer, "")
        assert outcome.problem.startswith(f"{name}: Expected a recording of text/event-stream to find frames in, got ")


def test_a_player_can_strike_stream_after_stream_and_tell_of_each() -> None:
    chaos = Chaos.parse("cut=0.5", seed=7)
    told: list[tuple[int, Outcome]] = []
    transform = chaos.transform(lambda index, outcome: told.append((index, outcome)))
    served = [transform(CHAT) for _ in range(5)]
    assert told == [(index, chaos.strike(CHAT, index)) for index in range(5)]
    assert served == [outcome.recording for _, outcome in told]


def test_an_empty_recording_can_be_struck() -> None:
    for name in ("cut", "cut-after-frames", "error", "stall"):
        assert Chaos(((name, 1.0),)).strike(recording(CHAT.request.url), 0).problem == ""


def test_an_address_that_is_not_known_gets_the_errors_of_chat() -> None:
    assert Chaos.parse("error=1").strike(recording("https://example.com/x"), 0).done.startswith("error=")


def test_every_mutation_can_be_asked_for() -> None:
    assert {"cut"}.union(MUTATIONS) == set(NAMES)
