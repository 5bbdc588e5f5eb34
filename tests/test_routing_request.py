"""What is read from a request: models, stream and n, from any bytes and any path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.routing.request import Asked, models_in

if TYPE_CHECKING:
    from collections.abc import Mapping

CHAT = "/v1/chat/completions"


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"model": "a/b"}, Asked(("a/b",))),
        ({"model": ""}, Asked(("",))),
        ({"models": ["a/b", "c/d"]}, Asked(("a/b", "c/d"))),
        ({"model": "a/b", "models": ["c/d", "a/b"]}, Asked(("a/b", "c/d"))),
        ({"models": ["c/d"], "model": "a/b"}, Asked(("a/b", "c/d"))),
        ({"models": ["a/b", 1, None, ["c/d"], {"model": "e/f"}]}, Asked(("a/b",))),
        ({"model": "a/b", "stream": True, "n": 2}, Asked(("a/b",), stream=True, n=2)),
        ({"stream": False, "n": 0}, Asked((), stream=False, n=0)),
        ({"stream": "true", "n": "2"}, Asked()),
        ({"stream": 1, "n": True}, Asked()),
        ({"stream": None, "n": 1.0}, Asked()),
        ({"messages": [{"model": "a/b", "n": 3, "stream": True}]}, Asked()),
        ({}, Asked()),
    ],
)
def test_a_json_object_is_read(value: object, expected: Asked) -> None:
    assert models_in(body(value), CHAT) == expected


@pytest.mark.parametrize("model", [["a/b"], 1, 1.5, None, True, {"model": "a/b"}, {"a/b": "c/d"}])
def test_a_model_that_is_no_string_is_not_ours(model: object) -> None:
    assert models_in(body({"model": model, "models": "a/b", "n": 1}), CHAT) == Asked(n=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"model=a/b",
        b'"model"',
        b'["model", "a/b"]',
        b'[["model", "a/b"]]',
        b"null",
        b'{"model": "a/b"',
        b'{"model": "a/b"} {}',
        b'{"model": "a/b\n"}',
        b'{"messages": ' + b"[" * 1_000_000 + b', "model": "a/b"}',
        b'{"a":' * 500_000 + b'{"model": "a/b"}' + b"}" * 500_000,
        b"\x1f\x8b\x08\x00",
        b"\x00",
        b"\x00\x00\x00{",
        b"\xff\xfe\x00",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_body_that_is_not_a_json_object_says_nothing(data: bytes) -> None:
    assert models_in(data, CHAT) == Asked()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_json_in_any_unicode_encoding_is_read(encoding: str) -> None:
    assert models_in('\n {"model": "a/ü"}'.encode(encoding), CHAT) == Asked(("a/ü",))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"model": "a", "model": "b/c"}', Asked(("a", "b/c"), duplicates=("model",))),
        (b'{"model": "b/c", "model": 1}', Asked(("b/c",), duplicates=("model",))),
        (b'{"model": "b/c", "model": "b/c"}', Asked(("b/c",), duplicates=("model",))),
        (b'{"model": "b/c", "mode\\u006c": "d"}', Asked(("b/c", "d"), duplicates=("model",))),
        (b'{"models": ["a"], "model": "b", "models": ["c"]}', Asked(("b", "a", "c"), duplicates=("models",))),
        (b'{"n": 1, "n": 2, "stream": true, "stream": false}', Asked((), False, 2, ("stream", "n"))),
        (b'{"x": 1, "x": 2, "y": {"model": 1, "model": 2}}', Asked()),
    ],
)
def test_every_value_of_a_repeated_key_counts(data: bytes, expected: Asked) -> None:
    assert models_in(data, CHAT) == expected


def test_a_broken_character_elsewhere_does_not_hide_the_model() -> None:
    assert models_in(b'{"messages": "\xff\xc3", "model": "a/b"}', CHAT) == Asked(("a/b",))


def test_a_number_of_any_length_does_not_hide_the_model() -> None:
    data = b'{"seed": ' + b"9" * 1_000_000 + b', "n": ' + b"1" * 5000 + b', "model": "a/b"}'
    assert models_in(data, CHAT) == Asked(("a/b",))


def test_a_lone_surrogate_in_a_model_is_kept() -> None:
    assert models_in(b'{"model": "a/\\ud800"}', CHAT) == Asked(("a/\ud800",))


@pytest.mark.parametrize(
    ("path", "models"),
    [
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", ("gemini-2.5-pro",)),
        ("/v1beta/models/gemini-2.5-pro:generateContent", ("gemini-2.5-pro",)),
        ("/v1beta/models/google/gemini-2.5-pro:streamGenerateContent", ("google/gemini-2.5-pro",)),
        ("/v1beta/models/google%2Fgemini-2.5-pro%3AstreamGenerateContent", ("google/gemini-2.5-pro",)),
        ("/v1beta//models/./gemini:streamGenerateContent", ("gemini",)),
        ("/v1beta/models/models/gemini:streamGenerateContent", ("models/gemini",)),
        ("/v1beta/models/gemini:free:streamGenerateContent", ("gemini:free",)),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini:streamGenerateContent", ("gemini",)),
        ("/proxy/google/v1beta/models/gemini:streamGenerateContent", ("gemini",)),
        ("/v1beta/models/a\n/b:streamGenerateContent", ("a\n/b",)),
        ("/v1beta/tunedModels/mine:streamGenerateContent", ()),
        ("/v1beta/models/gemini:countTokens", ()),
        ("/v1beta/models/gemini", ()),
        ("/v1beta/models/:streamGenerateContent", ()),
        ("/v1beta/models", ()),
        ("/v1/chat/completions?x=/models/a/b:generateContent", ()),
        ("", ()),
    ],
)
def test_the_model_in_a_gemini_path_is_read(path: str, models: tuple[str, ...]) -> None:
    assert models_in(b'{"contents": []}', path) == Asked(models)


def test_the_models_of_path_and_body_all_count() -> None:
    asked = models_in(body({"model": "models/x", "models": ["gemini"]}), "/v1beta/models/gemini:generateContent")
    assert asked.models == ("gemini", "models/x")


def test_a_long_path_of_colons_is_read_in_linear_time() -> None:
    assert models_in(b"", "/models/" + ":generateContent/" * 500_000 + ":") == Asked()


@given(st.binary(), st.text())
def test_any_bytes_and_any_path_are_taken(data: bytes, path: str) -> None:
    assert isinstance(models_in(data, path), Asked)


@given(
    st.dictionaries(
        st.sampled_from(["model", "models", "stream", "n", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
    )
)
def test_any_json_object_gives_what_a_plain_reading_gives(value: Mapping[str, object]) -> None:
    asked = models_in(body(value), CHAT)
    listed = value.get("models")
    plain = [value.get("model"), *(listed if isinstance(listed, list) else [])]
    assert asked.models == tuple(dict.fromkeys(m for m in plain if isinstance(m, str)))
    assert asked.stream is (value["stream"] if isinstance(value.get("stream"), bool) else None)
    assert asked.duplicates == ()


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_any_model_id_comes_through_unchanged(model: str, encoding: str) -> None:
    assert models_in(json.dumps({"model": model}).encode(encoding), CHAT).models == (model,)
