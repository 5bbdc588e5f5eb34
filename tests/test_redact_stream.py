from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries import ENCODINGS, KEYS, OPENROUTER, PEM, bytewise, cut, exchange, fragments, pieces, stream
from samples import COMMENT, END_MARK, chat
from sseguard.redaction.redact import Redactor
from sseguard.redaction.redact_stream import MAX_LINE, OVERLAP
from sseguard.redaction.secret_patterns import compile_patterns

PLACE = b"<redacted:openrouter-key:1>"


def frame(text: str) -> bytes:
    """A frame with `text` as it is, escapes and all."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"}}]}\n\n'


def test_a_chunk_of_whole_frames_is_given_back_at_once() -> None:
    redactor = exchange(authorization=f"Bearer {OPENROUTER}").stream()
    for chunk in (COMMENT, chat(role="assistant"), chat(content=" the"), chat(content=" kilometres"), END_MARK):
        assert [given.data for given in redactor.feed(1.5, chunk)] == [chunk]
    assert redactor.finish() == []


def test_a_chunk_that_ends_inside_a_line_waits_for_the_end_of_the_line() -> None:
    redactor = exchange().stream()
    assert redactor.feed(1.0, b": a\ndata: {") == []
    assert [given.at for given in redactor.feed(2.0, b'"a":1}\n')] == [1.0, 2.0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_split_at_any_place_is_taken_out_of_every_chunk(name: str, end: str) -> None:
    kind, key = KEYS[name]
    before, after = f'data: {{"text": "{key[:4]}, here: ', f' ok"}}{end}{end}data: [DONE]{end}{end}'
    data = (before + key + after).encode()
    expected = f"{before}<redacted:{kind}:1>{after}".encode()
    for place in range(len(before) - 1, len(before + key) + 2):
        first, second = stream([data[:place], data[place:]])
        assert first + second == expected
        if len(before) < place < len(before + key):
            assert first.endswith(f"<redacted:{kind}:1>".encode())
            assert second == after.encode()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["openrouter", "google", "jwt", "aws"])
def test_a_key_byte_by_byte_leaves_as_many_chunks_and_no_piece_of_itself(name: str, encoding: str) -> None:
    kind, key = KEYS[name]
    whole = frame("it is " + ENCODINGS[encoding](key) + " indeed")
    chunks = stream(bytewise(whole))
    assert len(chunks) == len(whole)
    assert b"".join(chunks) == exchange().body(whole)
    assert f"<redacted:{kind}:1>".encode() in b"".join(chunks)


@given(st.data())
def test_chunking_changes_nothing_but_the_boundaries(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
    encoding = ENCODINGS[data.draw(st.sampled_from(sorted(ENCODINGS)))]
    noise = data.draw(st.lists(st.binary(max_size=40), max_size=3))
    lines = [frame(f"it is {encoding(KEYS[name][1])} indeed") for name in names]
    whole = b"".join(data.draw(st.permutations([*lines, COMMENT, *noise])))
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    chunks = stream(cut(whole, places))
    assert len(chunks) == len(places) + 1
    assert b"".join(chunks) == b"".join(stream([whole]))
    for name in names:
        assert fragments(KEYS[name][1], b"".join(chunks)) == []


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_bytes_without_secrets_come_out_as_they_went_in(data: bytes, places: list[int]) -> None:
    assert stream(cut(data, places)) == cut(data, places)


def test_chunks_without_bytes_keep_their_place() -> None:
    assert stream([b"", b"a", b"", b"\n", b""]) == [b"", b"a", b"", b"\n", b""]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_known_value_is_found_in_any_split(size: str) -> None:
    under = exchange(authorization="Bearer plain,value 9")
    whole = frame("plain,value 8 and plain,value 9.")
    chunks = stream([whole[at : at + int(size)] for at in range(0, len(whole), int(size))], under)
    assert b"".join(chunks) == frame("plain,value 8 and <redacted:authorization:1>.")


def test_a_user_pattern_is_found_in_any_split() -> None:
    under = Redactor(compile_patterns([r"acme [0-9]+"])).exchange("", ())
    assert stream([b"x acm", b"e 1", b"2", b" y\n"], under) == [b"x <redacted:custom:1>", b"", b"", b" y\n"]


@pytest.mark.parametrize("name", KEYS)
def test_what_there_is_of_a_key_when_the_stream_is_cut_goes_too(name: str) -> None:
    _, key = KEYS[name]
    whole = b'data: {"text":"here: ' + key.encode()
    for length in range(1, len(key)):
        (left,) = stream([whole[: len(whole) - length]])
        hidden = key.lstrip("sk-")  # what providers publish is no secret
        assert fragments(key, left, 14) == []
        assert fragments(hidden, left, 11) == []


def test_what_there_is_of_a_known_value_when_the_stream_is_cut_goes_too() -> None:
    under = exchange(**{"x-api-key": "correct9horse"})
    assert stream([b'data: {"text":"correct', b"9"], under) == [b'data: {"text":"<redacted:api-key:1>', b""]


@pytest.mark.parametrize(
    "form",
    [
        PEM + "\ntail\n",
        "data: " + PEM.replace("\n", "\ndata: ") + "\n\n",
        PEM.replace("\n", "\r\n") + "\r\n",
        json.dumps(PEM) + "\n",
    ],
)
def test_a_private_key_of_many_lines_is_taken_out(form: str) -> None:
    for chunks in ([form.encode()], bytewise(form.encode()), cut(form.encode(), range(50, len(form), 50))):
        assert b"".join(stream(chunks)).count(b"<redacted:private-key:1>") == 1
        assert fragments("".join(PEM.split("\n")[1:-1]), b"".join(stream(chunks)), 24) == []


def test_a_private_key_that_is_cut_is_taken_out() -> None:
    assert b"".join(stream(bytewise(PEM[:200].encode()))) == b"<redacted:private-key:1>"


def test_lines_after_a_false_beginning_of_a_private_key_are_not_held() -> None:
    redactor = exchange().stream()
    begin = PEM.split("\n")[0].encode() + b"\n"
    assert redactor.feed(0.0, begin) == []
    assert [chunk.data for chunk in redactor.feed(1.0, b'"no key".\n')] == [begin, b'"no key".\n']


def test_a_private_key_without_an_end_is_held_for_a_while_only() -> None:
    lines = [PEM.split("\n")[0].encode() + b"\n", *[b"A" * 64 + b"\n"] * 1000]
    redactor = exchange().stream()
    out = [chunk.data for line in lines for chunk in redactor.feed(0.0, line)]
    assert len(out) > 500
    assert out[0] == b"<redacted:private-key:1>"


LONG = base64.b64encode(bytes(at * at % 251 for at in range(MAX_LINE * 2))).decode()


@pytest.mark.parametrize("size", [1000, 65536, 10**9])
@pytest.mark.parametrize("before", [0, MAX_LINE - 20, MAX_LINE + OVERLAP - 30, MAX_LINE * 2])
def test_a_key_in_a_very_long_line_is_found(before: int, size: int) -> None:
    line = f'{{"image":"{LONG[:before]}","key":"{OPENROUTER}","image":"{LONG[:9000]}"}}\n'.encode()
    chunks = stream([line[at : at + size] for at in range(0, len(line), size)])
    assert b"".join(chunks) == line.replace(OPENROUTER.encode(), PLACE)


@pytest.mark.parametrize("size", [1000, 65536, 10**9])
@pytest.mark.parametrize("before", [3, 30000, MAX_LINE - 6000, MAX_LINE])
def test_a_key_in_a_file_in_base64_in_a_very_long_line_is_found(before: int, size: int) -> None:
    file = bytes(at * at % 251 for at in range(before)) + f" {OPENROUTER}\n".encode() + bytes(20000)
    line = b'{"file":"' + base64.b64encode(file) + b'"}\n'
    chunks = stream([line[at : at + size] for at in range(0, len(line), size)])
    assert PLACE in b"".join(chunks)
    assert fragments(base64.b64encode(OPENROUTER.encode()).decode(), b"".join(chunks), 12) == []


@pytest.mark.parametrize("size", [700, 65536])
def test_a_secret_longer_than_all_that_is_held_is_swallowed_to_its_end(size: int) -> None:
    token = KEYS["jwt"][1] + LONG.replace("+", "-").replace("/", "_").rstrip("=")
    line = f'{{"text":"{token}, and more"}}\n'.encode()
    chunks = stream([line[at : at + size] for at in range(0, len(line), size)])
    assert b"".join(chunks) == b'{"text":"<redacted:jwt:1>, and more"}\n'


HOSTILE = [
    b'data: {"content":"sk-a1"}\n\n',
    b"x",
    b"-----BEGIN " + b"PRIVATE KEY-----\n",
    b'data: {"content":"a',
    b"-----BEGIN ",
    b'"a":"\\',
    b"",
    b"\r",
]


@pytest.mark.parametrize("chunk", HOSTILE)
def test_no_more_is_held_than_the_bound_says_whatever_comes(chunk: bytes) -> None:
    redactor = exchange().stream()
    held = 0
    for _ in range(40_000):
        held += 1 - len(redactor.feed(0.0, chunk))
        assert held * (len(chunk) + 64) <= 2 << 20
    assert len(redactor.finish()) == held


def test_memory_stays_flat() -> None:
    redactor = exchange(authorization=f"Bearer {OPENROUTER}").stream()

    def peak(first: int) -> int:
        tracemalloc.start()
        for number in range(first, first + 600):
            redactor.feed(0.0, chat(content=f" word{number} sk-", index=number))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(0)
    assert peak(600) < 1 << 20


def test_placeholders_in_a_stream_stay() -> None:
    once = b"".join(stream([frame(OPENROUTER)]))
    assert b"".join(stream(bytewise(once))) == once


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_long_private_key_that_an_answer_spells_out_is_taken_out(size: int) -> None:
    text = f"Your key:\n{PEM}\nKeep it safe."
    chunks = stream([chat(content=piece) for piece in pieces(text, size)])
    texts = [json.loads(chunk[6:])["choices"][0]["delta"]["content"] for chunk in chunks]
    assert "".join(texts) == "Your key:\n<redacted:private-key:1>\nKeep it safe."
