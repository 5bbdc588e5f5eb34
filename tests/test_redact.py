from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries import ENCODINGS, KEYS, OPENROUTER, PEM, exchange, fragments
from sseguard.redaction.redact import MAX_NUMBERED, Redactor
from sseguard.redaction.secret_patterns import PatternError, compile_patterns

HARMLESS = [
    "gen-1700000000-AbCdEfGhIjKlMnOpQrSt",
    "chatcmpl-BaBcDeFgHiJkLmNoPqRsTuVwXyZ01",
    "resp_68a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8",
    "msg_01XFDUDYJgAACzvnptvVoYEL",
    "req_011CPn6Uv8qQMjuXcE2rTyUi",
    "call_abc123DEF456ghi789JKL012",
    "toolu_01A09q90qw90lq917835lq9",
    "550e8400-e29b-41d4-a716-446655440000",
    "fp_44709d6fcb",
    "task-or-goal-oriented-and-more, sk-learn-contrib-and-more-things, disk-usage-of-the-whole-machine",
    "x-ai/grok-4, xai-org/grok-4-fast-reasoning, hf_hub_download, pplx-70b-online",
    '{"max_tokens": 100, "usage": {"prompt_tokens": 12345678}, "prompt_cache_key": "a1b2c3d4e5f6a1b2"}',
    '{"logprobs": {"content": [{"token": " hello", "logprob": -0.1, "bytes": [32]}]}}',
    '{"properties": {"password": {"type": "string"}, "api_key": {"type": "string"}}, "required": ["api_key"]}',
    '{"text": "your password: ", "id": "x", "b": "the api_key=", "c": "Authorization: Bearer "}',
    '{"text": "the field \\"password\\": ", "more": "text"}',
    '{"author": "J. K. Rowling-Smith", "keyboard": "qwertz-1234567", "secret": ""}',
    "the password is wrong, the key: value pair; sorted(rows, key=operator.itemgetter)",
    "https://example.com/a/b?page=2&sort=key&max_tokens=100#part",
    "-----BEGIN PRIVATE KEY----- is how such a file begins, and -----BEGIN CERTIFICATE-----\nMIIB how another does",
    "AKIAS AND ASIAN LANGUAGES; eyJson.is.not.one; 100% sure, 20%25 off",
    "\x00\x01\x7f\u00e9\u4e2d\U0001f600",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_stays(text: str) -> None:
    assert exchange().body(text.encode()) == text.encode()


def test_an_image_in_base64_stays() -> None:
    image = base64.b64encode(bytes((at * at * 31 + at // 7) % 256 for at in range(200_000)))
    assert exchange().body(b'{"url":"data:image/png;base64,' + image + b'"}').count(image) == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_found_in_every_encoding_and_numbered_by_its_value(name: str, encoding: str) -> None:
    kind, key = KEYS[name]
    form = ENCODINGS[encoding](key)
    under = exchange(authorization=f"Bearer {key}")
    safe = under.body(f'{{"text": "it is {form} indeed", "id": 1}}'.encode())
    assert fragments(key, safe) == []
    around = ENCODINGS[encoding]("")
    assert [piece for piece in fragments(form, safe, 12) if piece not in around] == []
    assert f"<redacted:{kind}:1>".encode() in safe
    assert under.headers == (("authorization", f"Bearer <redacted:{kind}:1>"),)
    text = json.loads(safe)["text"]
    assert text.startswith("it is ")
    assert text.endswith(" indeed")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_value_known_from_a_header_is_found_in_every_encoding(encoding: str) -> None:
    value = "Tr0ub4dor" + "&3 zwölf"
    under = exchange(**{"x-api-key": value})
    safe = under.body(f'{{"text": "it is {ENCODINGS[encoding](value)} indeed"}}'.encode())
    assert "<redacted:api-key:1>" in json.loads(safe)["text"]


SPELLINGS: list[Callable[[str], str]] = [
    str,
    json.dumps,
    lambda pem: json.dumps(json.dumps(pem)),
    lambda pem: pem.replace("\n", "\r\n"),
    ENCODINGS["percent"],
    ENCODINGS["base64"],
    lambda pem: base64.encodebytes(pem.encode()).decode(),
]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_private_key_is_one_secret_however_its_lines_are_written(spell: Callable[[str], str]) -> None:
    under = exchange()
    under.body(PEM.encode())
    safe = under.body(f"see {spell(PEM)} there".encode())
    assert b"<redacted:private-key:1>" in safe
    assert fragments(spell(PEM)[40:-40], safe, 16) == []
    assert safe.startswith(b"see ")
    assert safe.endswith(b" there")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Authorization", "Bearer x", "Bearer <redacted:authorization:1>"),
        ("authorization", "plain-secret", "<redacted:authorization:1>"),
        ("Authorization", "Basic dXNlcjpodW50ZXIy", "Basic <redacted:authorization:1>"),
        ("Authorization", "Basic !", "Basic <redacted:authorization:1>"),
        ("Authorization", "Basic abcde", "Basic <redacted:authorization:1>"),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=A/x, Signature=b",
            "AWS4-HMAC-SHA256 <redacted:authorization:1>",
        ),
        ("Authorization", "", ""),
        ("Proxy-Authorization", "Bearer\tx", "Bearer\t<redacted:authorization:1>"),
        ("X-API-Key", "k", "<redacted:api-key:1>"),
        ("api-key", "k", "<redacted:api-key:1>"),
        ("x-goog-api-key", "k", "<redacted:api-key:1>"),
        ("Ocp-Apim-Subscription-Key", "k", "<redacted:api-key:1>"),
        ("x-amz-security-token", "t", "<redacted:token:1>"),
        ("X-Client-Secret", "s", "<redacted:secret:1>"),
        ("X-Auth-Something", "a", "<redacted:authorization:1>"),
        ("X-Hub-Signature", "sha1=ab", "<redacted:signature:1>"),
        ("OpenAI-Organization", "org-abc", "<redacted:account-id:1>"),
        ("anthropic-organization-id", "e1f2", "<redacted:account-id:1>"),
        ("Cookie", "a=b; c=d=; e=", "a=<redacted:cookie:1>; c=<redacted:cookie:2>; e="),
        ("Cookie", "nameless", "<redacted:cookie:1>"),
        ("Set-Cookie", "__cf_bm=v; path=/; HttpOnly", "__cf_bm=<redacted:cookie:1>; path=/; HttpOnly"),
        ("Referer", "https://x/?api_key=abc&a=1", "https://x/?api_key=<redacted:api-key:1>&a=1"),
        ("X-RateLimit-Remaining-Tokens", "100", "100"),
        ("anthropic-ratelimit-input-tokens-remaining", "100", "100"),
        ("WWW-Authenticate", 'Bearer realm="api"', 'Bearer realm="api"'),
        ("Access-Control-Allow-Headers", "Authorization, X-Api-Key", "Authorization, X-Api-Key"),
        ("Idempotency-Key", "a1b2c3d4e5f6a1b2", "a1b2c3d4e5f6a1b2"),
        ("x-request-id", "req_011CPn6Uv8qQMjuXcE2rTyUi", "req_011CPn6Uv8qQMjuXcE2rTyUi"),
        ("anthropic-version", "2023-06-01", "2023-06-01"),
        ("X-Odd", "\udc80\ud800", "\udc80\ud800"),
    ],
)
def test_headers_are_judged_by_name_and_keep_their_scheme(name: str, value: str, expected: str) -> None:
    assert exchange(**{name: value}).headers == ((name, expected),)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/v1?key=abc&alt=sse", "https://h/v1?key=<redacted:api-key:1>&alt=sse"),
        (
            "https://h/v1?api_key=a&b=1#access_token=c",
            "https://h/v1?api_key=<redacted:api-key:1>&b=1#access_token=<redacted:token:1>",
        ),
        ("https://h/v1?x=1&sig=a%2Fb&se=2", "https://h/v1?x=1&sig=<redacted:signature:1>&se=2"),
        (
            "https://h/v1?X-Amz-Credential=c&X-Amz-Signature=s",
            "https://h/v1?X-Amz-Credential=<redacted:api-key:1>&X-Amz-Signature=<redacted:signature:1>",
        ),
        ("https://me:pa55@h:8443/v1", "https://<redacted:userinfo:1>@h:8443/v1"),
        ("https://h/v1?n=2&model=a/b", "https://h/v1?n=2&model=a/b"),
    ],
)
def test_urls_lose_keys_and_user_information(url: str, expected: str) -> None:
    assert Redactor().exchange(url, ()).url == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"api_key": "x", "a": 1}, {"api_key": "<redacted:api-key:1>", "a": 1}),
        ({"a": [{"Client_Secret": 'q"uo\\te'}]}, {"a": [{"Client_Secret": "<redacted:secret:1>"}]}),
        ({"password": "two words", "passwordless": True}, {"password": "<redacted:password:1>", "passwordless": True}),
        ({"h": {"Authorization": "Bearer abc"}}, {"h": {"Authorization": "Bearer <redacted:authorization:1>"}}),
        ({"SecretAccessKey": "wJalr/K7MDENG+bPx"}, {"SecretAccessKey": "<redacted:api-key:1>"}),
        ({"accessToken": "t", "token": "short"}, {"accessToken": "<redacted:token:1>", "token": "short"}),
        ({"token": "a1b2c3d4e5f6a7b8"}, {"token": "<redacted:token:1>"}),
        ({"t": "export OPENAI_API_KEY=abcdef1234 and"}, {"t": "export OPENAI_API_KEY=<redacted:api-key:1> and"}),
        ({"t": "-H 'Authorization: Bearer a1b2c3d4'"}, {"t": "-H 'Authorization: Bearer <redacted:authorization:1>'"}),
        ({"t": "a = {'password': 'hunter two'}"}, {"t": "a = {'password': '<redacted:password:1>'}"}),
        ({"t": 'login(password="hunter")'}, {"t": 'login(password="<redacted:password:1>")'}),
        ({"t": "j=%22pwd%22%3A%20%22a%20b%22%7D"}, {"t": "j=%22pwd%22%3A%20%22<redacted:password:1>%22%7D"}),
        ({"t": "API key: a1b2c3d4e5f6"}, {"t": "API key: <redacted:api-key:1>"}),
        ({"t": "git clone https://me:secret@h/r"}, {"t": "git clone https://<redacted:userinfo:1>@h/r"}),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_bodies_lose_what_a_name_announces_at_any_depth_of_json(body: object, expected: object, depth: int) -> None:
    for _ in range(depth):
        body, expected = {"arguments": json.dumps(body)}, {"arguments": json.dumps(expected)}
    assert json.loads(exchange().body(json.dumps(body).encode())) == expected


def test_one_secret_has_one_number_in_header_url_and_body() -> None:
    under = Redactor().exchange(f"https://u:{OPENROUTER}@h/?key={OPENROUTER}", (("x-api-key", OPENROUTER),))
    place = "<redacted:openrouter-key:1>"
    assert under.headers == (("x-api-key", place),)
    assert under.url == f"https://{place}@h/?key={place}"
    assert under.body(f'{{"password": "{OPENROUTER}"}}'.encode()) == f'{{"password": "{place}"}}'.encode()


def test_numbers_go_on_over_exchanges_by_kind_and_value() -> None:
    redactor = Redactor(key=b"any")
    headers = [("api-key", "a"), ("x-token", "b"), ("api-key", "c"), ("api-key", "a"), ("x-token", "c")]
    seen = [redactor.exchange("", (header,)).headers[0][1] for header in headers]
    assert seen == [f"<redacted:{place}>" for place in ("api-key:1", "token:1", "api-key:2", "api-key:1", "api-key:2")]


def test_numbers_are_never_used_again_when_the_memory_for_secrets_is_full() -> None:
    redactor = Redactor()
    places = {redactor.placeholder("token", str(number).encode()) for number in range(MAX_NUMBERED + 10)}
    assert redactor.placeholder("token", b"0") not in places


def test_a_short_or_wordlike_header_value_is_not_searched_for_elsewhere() -> None:
    under = exchange(authorization="Bearer ollama", **{"x-api-key": "lm-studio"})
    assert under.body(b"ollama and lm-studio") == b"ollama and lm-studio"


def test_an_account_id_is_no_secret_elsewhere() -> None:
    under = exchange(**{"openai-organization": "openrouter-inc-1"})
    assert under.body(b"openrouter-inc-1") == b"openrouter-inc-1"


@pytest.mark.parametrize(("before", "left"), [(b"", b'"'), (b"x", b'"e'), (b"xy", b'"eH')])
def test_a_short_known_value_in_base64_goes_with_the_digits_it_shares(before: bytes, left: bytes) -> None:
    under = exchange(**{"x-api-key": "hunter2!"})
    body = under.body(b'"' + base64.b64encode(before + b"hunter2!").rstrip(b"=") + b'"')
    assert body == left + b'<redacted:api-key:1>"'


@pytest.mark.parametrize("before", ["/", "/v1/", "ab", "/abc/", "x_"])
def test_base64_is_found_behind_letters_that_are_none_of_it(before: str) -> None:
    form = base64.b64encode(OPENROUTER.encode()).decode()
    assert exchange().body(f"{before}{form} ".encode()) == f"{before}<redacted:openrouter-key:1> ".encode()


def test_a_key_is_found_far_behind_in_a_long_word() -> None:
    assert exchange().body(b"a.b" * 5000 + b"?x=" + OPENROUTER.encode()).endswith(b"b?x=<redacted:openrouter-key:1>")


def test_a_cookie_that_the_response_sets_is_known_afterwards() -> None:
    under = exchange()
    assert under.response_headers((("set-cookie", "s=a1b2c3d4e5; path=/"),)) == (
        ("set-cookie", "s=<redacted:cookie:1>; path=/"),
    )
    assert under.body(b"it was a1b2c3d4e5.") == b"it was <redacted:cookie:1>."


def test_a_password_in_basic_credentials_is_known_by_itself() -> None:
    under = exchange(authorization="Basic " + base64.b64encode(b"me:correct horse 9").decode())
    assert under.body(b"correct horse 9") == b"<redacted:authorization:1>"


def test_a_password_in_the_url_is_known_by_itself() -> None:
    assert Redactor().exchange("https://me:correct9horse@h/", ()).body(b"<correct9horse>") == b"<<redacted:userinfo:1>>"


@given(
    st.text(alphabet="sk-orv1a9.:/\\\"'=%u0{}[], \n", max_size=80),
    st.sampled_from(sorted(KEYS)),
    st.text(max_size=10),
)
def test_redacting_twice_is_redacting_once(before: str, name: str, after: str) -> None:
    under = exchange(cookie="a=b1c2d3e4f5")
    once = under.body((before + KEYS[name][1] + after).encode("utf-8", "replace"))
    assert under.body(once) == once


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.sampled_from([key for _, key in KEYS.values()] + [PEM]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "password", "token", "api_key", 'x"']), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.booleans(),
    st.integers(0, 2),
)
def test_json_stays_json_of_the_same_shape(value: object, ascii_only: bool, depth: int) -> None:
    for _ in range(depth):
        value = {"arguments": json.dumps(value)}
    safe = json.loads(exchange().body(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")))
    assert _shape(safe) == _shape(value)


def _shape(value: object) -> object:
    match value:
        case dict():
            return {key: _shape(inner) for key, inner in value.items()}
        case list():
            return [_shape(inner) for inner in value]
        case str():
            return str
        case _:
            return value


def test_what_stands_around_a_placeholder_is_judged_by_itself() -> None:
    body = exchange().body(b'{"password": "one<redacted:jwt:7>two", "secret": "<redacted:jwt:7>", "pwd": "p"}')
    assert json.loads(body) == {
        "password": "<redacted:password:1><redacted:jwt:7><redacted:password:2>",
        "secret": "<redacted:jwt:7>",
        "pwd": "<redacted:password:3>",
    }


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data: bytes) -> None:
    under = exchange(authorization="Bearer a1b2c3d4e5")
    assert under.body(under.body(data)) == under.body(data)


def test_user_patterns_are_replaced_and_leave_placeholders_alone() -> None:
    under = Redactor(compile_patterns([r"acme-[0-9]+", r"[a-z]+:1"])).exchange("https://h/acme-12", (("x", "acme-3"),))
    assert under.url == "https://h/<redacted:custom:2>"
    assert under.headers == (("x", "<redacted:custom:1>"),)
    once = under.body("acme-3 acme-12 é".encode())
    assert once == "<redacted:custom:1> <redacted:custom:2> é".encode()
    assert under.body(once) == once


def test_a_user_pattern_may_cut_a_character_in_two() -> None:
    redactor = Redactor(compile_patterns(["x."]))
    assert redactor.exchange("", (("a", "xé"),)).headers == (("a", "<redacted:custom:1>\ufffd"),)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("a*", "empty string"),
        (r"\b", "empty string"),
        ("(", "position 0"),
        ("(?u)a", "flag"),
        ("a{99999999999}", "large"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_bad_pattern_is_shown_with_its_problem_and_the_form_expected(pattern: str, problem: str) -> None:
    with pytest.raises(PatternError, match="Expected a Python regular expression") as error:
        compile_patterns(["fine", pattern])
    assert repr(pattern) in str(error.value)
    assert problem in str(error.value)
