from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries import bytewise, cut, stream
from samples import COMMENT, END_MARK, chat, data, gemini, message, response
from sseguard.recordings.assessment import assess, header
from sseguard.recordings.fixture import load
from sseguard.redaction.filler import StreamFiller, fill_body
from sseguard.redaction.redact import looks_secret


def filled(chunks: list[bytes]) -> bytes:
    """The filler for these chunks, each of which must keep its length."""
    filler = StreamFiller()
    out = [filler.feed(chunk) for chunk in chunks]
    assert [len(chunk) for chunk in out] == [len(chunk) for chunk in chunks]
    return b"".join(out)


def value(text: str) -> object:
    """What becomes of a JSON text."""
    raw = text.encode("utf-8", "surrogatepass")
    out = fill_body(raw)
    assert len(out) == len(raw)
    return json.loads(out)


def asked(*, text: str, arguments: str, n: int, age: int, kind: str, word: str) -> dict[str, object]:
    """A request that has all that a request may have."""
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": text}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    tool = {"name": "f", "description": text, "parameters": {"type": kind, "n": n}}
    return {
        "model": "openai/gpt-4o",
        "stream": True,
        "temperature": 0.5,
        "stop": [text],
        "user": text,
        "messages": [
            {"role": "system", "content": text},
            {"role": "user", "content": parts},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": text},
        ],
        "tools": [{"type": "function", "function": tool}],
        "metadata": {"id": word, "age": age},
    }


def test_a_request_keeps_its_shape_and_loses_its_texts() -> None:
    before = asked(text="It is 22 °C", arguments="{}", n=250, age=41, kind="object", word="me")
    after = asked(text="xxxxxxxxxéx", arguments="xx", n=111, age=11, kind="xxxxxx", word="xx")
    assert value(json.dumps(before, ensure_ascii=False)) == after
    assert value(json.dumps(before)) == after


ALTERNATIVE = {"logprob": -0.5, "bytes": None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"input": "Hi"}, {"input": "xx"}),
        ({"input": [{"role": "user", "content": "Hi"}]}, {"input": [{"role": "user", "content": "xx"}]}),
        ({"name": "f", "input": {"type": "ab", "n": -1.5}}, {"name": "f", "input": {"type": "xx", "n": -1.1}}),
        (
            {"contents": [{"role": "r", "parts": [{"text": "t"}]}]},
            {"contents": [{"role": "r", "parts": [{"text": "x"}]}]},
        ),
        ({"functionCall": {"name": "f", "args": {"a": "b"}}}, {"functionCall": {"name": "f", "args": {"a": "x"}}}),
        ({"functionResponse": {"name": "f"}}, {"functionResponse": {"name": "x"}}),
        ({"prompt": ["Hi", "Ho"]}, {"prompt": ["xx", "xx"]}),
        ({"system": "Be"}, {"system": "xx"}),
        (
            {"error": {"message": "Rate limited.", "code": "a b"}},
            {"error": {"message": "Rate limited.", "code": "a b"}},
        ),
        ({"error": {"metadata": {"raw": "{}", "status": "p"}}}, {"error": {"metadata": {"raw": "xx", "status": "p"}}}),
        ({"error": "No credits left."}, {"error": "No credits left."}),
        ({"code": "import os"}, {"code": "importxxx"}),
        ({"content": [{"token": "Hi", "bytes": [72, 105]}]}, {"content": [{"token": "xx", "bytes": [11, 111]}]}),
        ({"top_logprobs": [{"token": "Hi", **ALTERNATIVE}]}, {"top_logprobs": [{"token": "xx", **ALTERNATIVE}]}),
        ({"top_logprobs": [{" there": -0.5, "ton": -1}]}, {"top_logprobs": [{"xxxxxx": -0.5, "tox": -1}]}),
        ({"tokens": ["Hi"], "token_ids": [12]}, {"tokens": ["xx"], "token_ids": [11]}),
        (["text", [], {}], ["xxxx", [], {}]),
    ],
)
def test_what_stays_and_what_goes(before: object, after: object) -> None:
    assert value(json.dumps(before)) == after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\tc", "xxxxx"),
        ("é中😀", "é中😀"),
        ("ß漢🎉", "é中😀"),
        ("ߠ\u0800\uffff", "é中中"),
    ],
)
def test_a_character_becomes_one_of_as_many_bytes(text: str, expected: str) -> None:
    assert value(json.dumps({"t": text}, ensure_ascii=False).replace("\\t", " ")) == {"t": expected}


@given(st.text(), st.booleans())
def test_texts_keep_their_length_in_characters_in_utf8_and_on_the_wire(text: str, ascii_only: bool) -> None:
    out = value(json.dumps({"t": text}, ensure_ascii=ascii_only))
    assert isinstance(out, dict)
    assert len(out["t"]) == len(text)
    assert len(out["t"].encode()) == len(text.encode())


@given(st.text())
def test_nothing_of_a_text_can_be_told_but_its_lengths(text: str) -> None:
    def pattern(raw: str) -> bytes:
        return fill_body(json.dumps({"t": raw}, ensure_ascii=False).encode())

    plain = re.sub(r'[\x00-\x1f"\\]', "a", text)
    letters = {1: "a", 2: "é", 3: "中", 4: "😀"}
    assert pattern(plain) == pattern("".join(letters[len(letter.encode())] for letter in plain))


STREAM = b"".join(
    [
        b"\xef\xbb\xbf" + COMMENT + b"retry: 10\r\nid: 7\r\n\r\n",
        chat(role="assistant", content=""),
        chat(content='Hello, "wörld" 😀'),
        chat(reasoning="hm"),
        chat(finish="stop"),
        'data: {"choices":[{"delta":{"content":"wörld中😀"}}]}\n\n'.encode(),
        response("response.output_text.delta", delta="Hi", item_id="msg_1"),
        message("content_block_delta", delta={"type": "input_json_delta", "partial_json": '{"a'}),
        gemini("Hi"),
        b'data: {"a":\ndata: [1,2.5e3,"t"],\r\ndata: "id":"i"}\r\n\r\n',
        b"data: : OPENROUTER PROCESSING\n\ndata: plain prose, 7 words\n\ndata\n\ndata:\n\n",
        b'data: {"broken":"no end\n\ndata: {"id":"gen-1"}\n\nunknown: field\n\nda\n\n',
        b'data: {"a":"b" "c"}]}\n\ndata: "lone\\u12"\n\ndata: -1\n\n',
        'data: {"code":"import os","id":"é\\n","name":"a\\u0041 b","error":"a\\"b"}\n\n'.encode(),
        b'data: {"a":"\xe4","b":"cc","d":"\xb8 \xe4abc\xb8"}\n\n',
        b'data: {"a":nope,"b":1e5,"\xff":"\xe4\xb8\xff\x80\xf9"}\n\nerror: {"message":"No."}\n\n',
        END_MARK,
    ]
)


GONE = ["Hello", "world", "hm", "prose", "words", "nope", "wörld", "no end"]
LEFT = [
    COMMENT,
    b"retry: 10\r\nid: 7\r\n",
    b'"gen-1"',
    b'"finish_reason": "stop"',
    b"event: content_block_delta\n",
    b'"delta": "xx"',
    b'"partial_json": "x\\/x"',
    b'"parts": [{"text": "xx"}]',
    b'data: [1,2.5e3,"x"],\r\ndata: "id":"i"}\r\n',
    b": OPENROUTER",
    b'data: {"broken":"xxxxxx\n',
    b'data: {"id":"gen-1"}\n',
    '"code":"importxxx","id":"é\\/","name":"a\\u0078xx","error":"a\\"b"'.encode(),
    b'"b":1e5',
    b'error: {"message":"No."}',
    END_MARK,
]


def test_a_stream_keeps_its_lines_and_loses_its_texts() -> None:
    out = filled([STREAM])
    assert out.count(b"\n\n") == STREAM.count(b"\n\n")
    assert [text for text in GONE if text.encode() in out] == []
    assert [text for text in LEFT if text not in out] == []


@pytest.mark.parametrize("place", range(0, len(STREAM), 7))
def test_every_split_gives_the_same(place: int) -> None:
    assert filled([STREAM[:place], STREAM[place:]]) == filled([STREAM])


def test_byte_by_byte_gives_the_same() -> None:
    assert filled(bytewise(STREAM)) == filled([STREAM])


JSONISH = st.text(alphabet='{}[]":, \\u01ndata\n\réx').map(str.encode)


@given(st.binary(max_size=200) | JSONISH, st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_in_any_chunks_give_the_same(raw: bytes, places: list[int]) -> None:
    assert filled(cut(raw, places)) == filled([raw])


SCALARS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10))
def test_json_stays_json(inner: object) -> None:
    out = filled([data({"a": inner})])
    assert json.loads(out[6:]).keys() == {"a"}


@pytest.mark.parametrize("body", [b"<html><body>Bad Gateway 502</body></html>", b"Hello there.\n", "größe".encode()])
def test_what_is_no_json_is_masked_but_for_punctuation(body: bytes) -> None:
    expected = re.sub("[öß]", "é", re.sub("[A-Za-z0-9]", "x", body.decode())).encode()
    assert fill_body(body) == expected
    assert filled([body]) == expected


def test_json_over_several_lines_is_json() -> None:
    body = json.dumps({"error": {"message": "No."}, "choices": [{"text": "Hi"}]}, indent=2).encode()
    for out in (fill_body(body), filled([body]), filled([b"   \n" + body])[4:]):
        assert json.loads(out) == {"error": {"message": "No."}, "choices": [{"text": "xx"}]}


def test_lines_of_json_are_judged_line_by_line() -> None:
    out = filled([b'{"a":"b"\n{"a":"b', b'b"}\n{"a":"b\n', b'{"id":"i","a":"b"}\n'])
    assert out.endswith(b'{"id":"i","a":"x"}\n')
    assert b"b" not in out


def test_nesting_beyond_reason_is_masked_and_takes_no_memory() -> None:
    out = fill_body(b'{"a":' * 300 + b'"id"')
    assert out.startswith(b'{"a":' * 199)
    assert out.endswith(b'{"x":"xx"')


def test_long_keys_stay_and_name_nothing() -> None:
    key = "id" * 100
    assert value(json.dumps({key: "v", 'i"d': "v"})) == {key: "x", 'i"d': "x"}


EXAMPLES = [
    path
    for path in sorted((Path(__file__).parent.parent / "examples").rglob("*.sse.jsonl"))
    if not header(load(path).response.headers, "content-encoding")
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_ends_as_it_did_when_it_is_filled(path: Path) -> None:
    example = load(path)
    filler = StreamFiller()
    chunks = tuple(replace(chunk, data=filler.feed(chunk.data)) for chunk in example.chunks)
    assert assess(replace(example, chunks=chunks)).verdict == assess(example).verdict


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_nothing_to_redact(path: Path) -> None:
    example = load(path)
    chunks = [chunk.data for chunk in example.chunks]
    assert stream(chunks) == chunks
    assert looks_secret(path.read_bytes()) is None
