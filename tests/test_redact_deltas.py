from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries import KEYS, OPENROUTER, PEM, bytewise, exchange, fragments, pieces, stream
from samples import END_MARK, chat, gemini, message, response
from sseguard.redaction.redact import Redactor
from sseguard.redaction.redact_stream import MAX_HELD
from sseguard.redaction.secret_patterns import compile_patterns


def texts(chunks: Iterable[bytes], index: int = 0) -> list[str]:
    """The content of a chat completion's choice in each frame, each of which must still be JSON."""
    frames = [json.loads(line[6:]) for line in b"".join(chunks).splitlines() if line.startswith(b"data: {")]
    choices = [frame["choices"][0] for frame in frames]
    return [choice["delta"]["content"] for choice in choices if choice["index"] == index]


def said(words: Iterable[str], **headers: str) -> str:
    """What is left of an answer that comes in these words."""
    return "".join(texts(stream([chat(content=word) for word in words], exchange(**headers))))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 40])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_an_answer_spells_out_is_taken_out_of_each_frame(name: str, size: int) -> None:
    kind, key = KEYS[name]
    assert (
        said(pieces(f"Here it is: {key}\nAnything else?", size)) == f"Here it is: <redacted:{kind}:1>\nAnything else?"
    )


def test_the_placeholder_is_in_the_first_frame_of_the_key_and_the_others_lose_their_part() -> None:
    words = ["It is ", OPENROUTER[:3], OPENROUTER[3:20], OPENROUTER[20:], ".", " Bye"]
    frames = stream([chat(content=word) for word in words])
    assert texts(frames) == ["It is ", "<redacted:openrouter-key:1>", "", "", ".", " Bye"]


def test_a_part_of_a_key_that_looks_like_a_key_gets_no_number_of_its_own() -> None:
    under = exchange()
    stream([chat(content=OPENROUTER[:30]), chat(content=OPENROUTER[30:])], under)
    assert under.body(OPENROUTER.encode()) == b"<redacted:openrouter-key:1>"
    assert under.body(OPENROUTER[:40].encode()) == b"<redacted:openrouter-key:2>"


@given(
    st.sampled_from(sorted(KEYS)),
    st.lists(st.integers(0, 300), max_size=30),
    st.sampled_from(["", ".", ' "', "\n", " é"]),
)
def test_no_split_into_frames_leaves_anything(name: str, places: list[int], after: str) -> None:
    kind, key = KEYS[name]
    text = f"Key: {key}{after}"
    edges = sorted({0, len(text), *(place % len(text) for place in places)})
    words = [text[start:end] for start, end in pairwise(edges)]
    assert said(words) == f"Key: <redacted:{kind}:1>{after}"


@pytest.mark.parametrize("name", ["openrouter", "jwt"])
def test_frames_byte_by_byte_come_to_the_same(name: str) -> None:
    frames = [chat(content=piece) for piece in pieces(f"Key: {KEYS[name][1]} ok", 4)]
    assert b"".join(stream(bytewise(b"".join(frames)))) == b"".join(stream(frames))


@pytest.mark.parametrize(
    "make",
    [
        lambda piece: chat(reasoning=piece),
        lambda piece: chat(tool_calls=[{"index": 0, "function": {"arguments": piece}}]),
        lambda piece: response("response.output_text.delta", item_id="msg_1", delta=piece),
        lambda piece: response("response.function_call_arguments.delta", item_id="fc_1", delta=piece),
        lambda piece: message("content_block_delta", index=1, delta={"type": "text_delta", "text": piece}),
        lambda piece: message(
            "content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": piece}
        ),
        gemini,
        lambda piece: json.dumps({"model": "llama", "response": piece, "done": False}).encode() + b"\n",
    ],
)
def test_every_dialect_is_followed(make: Callable[[str], bytes]) -> None:
    frames = [make(piece) for piece in pieces(f"Key: {OPENROUTER} ok", 7)]
    left = b"".join(stream(frames))
    assert left.count(b"<redacted:openrouter-key:1>") == 1
    assert b"<redacted:openrouter-key:2>" not in left
    assert fragments(OPENROUTER[9:], left, 4) == []


def test_interleaved_choices_are_followed_apart() -> None:
    other = pieces("Nothing to hide in this other answer, none at all, for as long as it takes to say it.", 5)
    key = pieces(f"It is {OPENROUTER} here", 5)
    frames = [
        frame for one, two in zip(key, other, strict=False) for frame in (chat(content=one), chat(content=two, index=1))
    ]
    left = stream(frames)
    assert "".join(texts(left)) == "It is <redacted:openrouter-key:1> here"
    assert texts(left, 1) == other[: len(key)]


@pytest.mark.parametrize("size", range(1, 14))
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"c": 1, "password": "correct horse battery"}', '{"c": 1, "password": "<redacted:password:1>"}'),
        ("export OPENAI_API_KEY=abcdefgh1234\nls", "export OPENAI_API_KEY=<redacted:api-key:1>\nls"),
        ("Authorization: Bearer abcdefgh12345678 ok", "Authorization: Bearer <redacted:authorization:1> ok"),
        (
            "at https://user:hunter2x@h.com/a?key=ab12cd x",
            "at https://<redacted:userinfo:1>@h.com/a?key=<redacted:api-key:1> x",
        ),
    ],
)
def test_what_a_name_announces_over_several_frames_is_taken_out(text: str, expected: str, size: int) -> None:
    for first in range(size):
        assert said([text[:first], *pieces(text[first:], size)]) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("name", ["openrouter", "openai-project", "google", "github", "aws"])
def test_a_key_in_base64_over_several_frames_is_taken_out(name: str, size: int) -> None:
    for text in (KEYS[name][1], "user:" + KEYS[name][1]):
        form = base64.b64encode(text.encode()).decode()
        left = said(pieces(f"Value: {form} ok", size))
        assert fragments(form[12:], left.encode(), 8) == []
        assert left.endswith(" ok")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_known_value_over_several_frames_is_taken_out(size: int) -> None:
    words = pieces("it was Xy7 plain value, and not Xy7 plain word", size)
    left = said(words, authorization="Bearer Xy7 plain value")
    assert "plain value" not in left
    assert left.endswith(", and not Xy7 plain word")


@pytest.mark.parametrize("word", ["acme-1234", "ladybird"])
def test_a_user_pattern_over_several_frames_is_taken_out_if_it_is_one_word(word: str) -> None:
    under = Redactor(compile_patterns(["acme-[0-9]+", "ladyb[a-z]+"])).exchange("", ())
    frames = [chat(content=piece) for piece in pieces(f"say {word}, twice", 3)]
    assert "".join(texts(stream(frames, under))) == "say <redacted:custom:1>, twice"


@pytest.mark.parametrize("name", ["openrouter", "openai", "google", "jwt"])
def test_what_there_is_of_a_key_when_the_answer_breaks_off_goes_too(name: str) -> None:
    _, key = KEYS[name]
    words = pieces(f"Key: {key}", 3)
    for count in range(3, len(words)):
        assert fragments(key, said(words[:count]).encode(), 10) == []


def test_a_private_key_too_long_to_be_held_is_swallowed_up_to_its_end() -> None:
    text = f"Key:\n{PEM[:-40]}\n" + "".join(f"{line}\n" for line in PEM.split("\n")[1:-1] * 40) + '". Keep it.'
    left = said(pieces(text, 40))
    assert left.startswith("Key:\n<redacted:private-key:1>")
    assert left.endswith('". Keep it.')
    assert len(left) < 60


def test_an_ordinary_answer_comes_out_frame_by_frame_and_is_held_for_one_frame_at_most() -> None:
    answer = "I can't say as much as he, to be sure: use gpt-4o or HTTP/2, a camelCase name, `sk` and {x: 1}. " * 3
    redactor = exchange(authorization=f"Bearer {OPENROUTER}").stream()
    out = []
    for at, word in enumerate(pieces(answer, 6)):
        out += [chunk.data for chunk in redactor.feed(0.0, chat(content=word))]
        assert at - len(out) < 6
    out += [chunk.data for chunk in redactor.finish()]
    assert out == [chat(content=word) for word in pieces(answer, 6)]


@pytest.mark.parametrize("value", ["a1b2c3d4e5f6", "sk-abcdefg1234"])
def test_an_unknown_member_that_is_the_same_in_each_frame_holds_nothing_up(value: str) -> None:
    redactor = exchange().stream()
    frames = [b'data: {"trace":"%s","content":"%d"}\n\n' % (value.encode(), number) for number in range(50)]
    out = [chunk.data for frame in frames for chunk in redactor.feed(0.0, frame)]
    assert len(out) > 45
    assert out + [chunk.data for chunk in redactor.finish()] == frames


def test_a_text_without_blanks_is_held_in_part_only() -> None:
    redactor = exchange().stream()
    out = [chunk.data for number in range(3000) for chunk in redactor.feed(0.0, chat(content=f"{number:05}a"))]
    assert len(out) > 2900
    assert b"redacted" not in b"".join(out)


def test_many_texts_at_once_lose_their_keys_all_the_same() -> None:
    frames = [chat(content=piece, index=index) for piece in pieces(f"{OPENROUTER} ", 30) for index in range(40)]
    assert fragments(OPENROUTER, b"".join(stream(frames))) == []


def test_more_texts_at_once_than_can_be_followed_stay_within_bounds() -> None:
    frames = [chat(content=piece, index=index) for piece in ("sk-proj-abcd", "efgh ") for index in range(1000)]
    left = stream(frames)
    assert len(left) == len(frames)
    assert sum(map(len, frames)) < MAX_HELD
    assert b"abcd" not in b"".join(left)


def test_a_key_between_frames_of_another_kind_is_found() -> None:
    frames = [
        chat(content="Key: "),
        b": ping\n\n",
        chat(content=OPENROUTER[:30]),
        b": ping\n\n",
        chat(content=OPENROUTER[30:]),
        END_MARK,
    ]
    assert "".join(texts(stream(frames))) == "Key: <redacted:openrouter-key:1>"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('"content".*', '"delta": {<redacted:openrouter-key:1>'),
        ("sk-or-v1-[0-9a-f]{4}", '"content": "<redacted:openrouter-key:1>"'),
        ('"content": "(?=sk)', '"delta": {<redacted:custom:1><redacted:openrouter-key:1>"'),
    ],
)
def test_a_secret_in_one_line_and_one_over_several_may_overlap(pattern: str, expected: str) -> None:
    under = Redactor(compile_patterns([pattern])).exchange("", ())
    first, second, third = stream(
        [chat(content=OPENROUTER[:30]), chat(content=OPENROUTER[30:] + " ok"), END_MARK], under
    )
    assert expected in first.decode()
    assert fragments(OPENROUTER[9:], first + second, 6) == []
    assert third == END_MARK
