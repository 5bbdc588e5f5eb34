"""The last scan: what it refuses, and what it lets through."""

from __future__ import annotations

import json

import pytest

from canaries import ENCODINGS, KEYS, OPENROUTER, PEM, exchange
from samples import chat
from sseguard.recordings.recording import chunk_line
from sseguard.redaction.redact import Finding, looks_secret
from test_redact import HARMLESS


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", KEYS)
def test_every_key_is_refused_in_every_encoding_and_in_the_line_of_a_file(name: str, encoding: str) -> None:
    kind, key = KEYS[name]
    chunk = f'data: {{"text": "it is {ENCODINGS[encoding](key)} indeed"}}\n\n'.encode()
    for text in (chunk, chunk_line(1.0, chunk), chunk_line(1.0, b"\xff\xfe " + chunk)):
        for finding in (looks_secret(text), exchange().last_scan(text)):
            assert finding is not None
            assert finding.kind == kind


@pytest.mark.parametrize("text", [PEM, json.dumps(PEM), json.dumps(json.dumps(PEM))])
def test_private_keys_are_refused(text: str) -> None:
    assert looks_secret(text) == exchange().last_scan(text)
    assert looks_secret(text) is not None


def test_a_finding_says_where_and_never_what() -> None:
    assert looks_secret(f"é {OPENROUTER} ") == Finding("openrouter-key", 3, 3 + len(OPENROUTER))


@pytest.mark.parametrize(
    "text", [*HARMLESS, "<redacted:openrouter-key:1>", "Bearer <redacted:jwt:12>", chat(content="hi").decode()]
)
def test_ordinary_text_and_placeholders_pass(text: str) -> None:
    assert looks_secret(text) is None
    assert exchange().last_scan(text) is None
    assert exchange().last_scan(chunk_line(0.5, text.encode())) is None


def test_a_known_value_is_refused_by_its_exchange_only() -> None:
    under = exchange(authorization="Bearer plain,value 9")
    assert under.last_scan("a plain,value 9") == Finding("authorization", 2, 15)
    assert exchange().last_scan("a plain,value 9") is None


def test_a_name_alone_is_no_reason_to_refuse() -> None:
    assert exchange().last_scan(b'{"password": "correct horse"}') is None
