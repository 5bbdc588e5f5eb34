"""The grammar of routes, and the spelling of hosts and paths."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.routing.routes import Route, RouteError, RouteType, canonical_host, parse_route, printable, segments

NATIVE = RouteType.NATIVE


@pytest.mark.parametrize(
    ("value", "host", "port", "prefix"),
    [
        ("h=native", "h", None, ()),
        ("h/=native", "h", None, ()),
        ("h:8080=native", "h", 8080, ()),
        ("h/v1=native", "h", None, ("v1",)),
        ("h:1/v1/*/x=native", "h", 1, ("v1", "*", "x")),
        ("  h=native\n", "h", None, ()),
        ("my_service:8000=native", "my_service", 8000, ()),
        ("127.0.0.1:65535=native", "127.0.0.1", 65535, ()),
        ("LLM.Example.COM.=native", "llm.example.com", None, ()),
        ("LLM.Example.COM.:80/V1=native", "llm.example.com", 80, ("V1",)),
        ("https://h=native", "h", 443, ()),
        ("HTTPS://H./v1/=native", "h", 443, ("v1",)),
        ("http://h/v1=native", "h", 80, ("v1",)),
        ("https://h:8443/v1=native", "h", 8443, ("v1",)),
        ("http://[::1]:8080/v1=native", "::1", 8080, ("v1",)),
        ("[::1]=native", "::1", None, ()),
        ("[::1]:8080=native", "::1", 8080, ()),
        ("::1=native", "::1", None, ()),
        ("2001:DB8:0:0::1/v1=native", "2001:db8::1", None, ("v1",)),
        ("Bücher.example=native", "xn--bcher-kva.example", None, ()),
        ("xn--bcher-kva.example=native", "xn--bcher-kva.example", None, ()),
        ("h/a=b/c=native", "h", None, ("a=b", "c")),
        ("h/http://x=native", "h", None, ("http:", "x")),
        ("h//v1/./x/../%76%31=native", "h", None, ("v1", "v1")),
        ("h/@cf/a%20b%3Fc=native", "h", None, ("@cf", "a b?c")),
    ],
)
def test_a_route_is_read_into_its_parts(value: str, host: str, port: int | None, prefix: tuple[str, ...]) -> None:
    assert parse_route(value) == Route(host, port, prefix, NATIVE)


@pytest.mark.parametrize("kind", RouteType)
def test_each_type_is_read_in_any_case(kind: RouteType) -> None:
    assert [parse_route(f"h={kind}").type, parse_route(f"h={kind.upper()}").type] == [kind, kind]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "there is no '='"),
        ("api.openai.com", "there is no '='"),
        ("h=", "'' is not a type"),
        ("h=gpt", "'gpt' is not a type"),
        ("h=native/v1", "'native/v1' is not a type"),
        ("h= native", "' native' is not a type"),
        ("=native", "the host is empty"),
        ("/v1=native", "the host is empty"),
        (":80=native", "the host is empty"),
        ("https://=native", "the host is empty"),
        ("https:///v1=native", "the host is empty"),
        ("h:=native", "'' is not a port from 1 to 65535"),
        ("h:0=native", "'0' is not a port from 1 to 65535"),
        ("h:65536=native", "'65536' is not a port from 1 to 65535"),
        ("h:70000=native", "'70000' is not a port from 1 to 65535"),
        ("h:abc=native", "'abc' is not a port from 1 to 65535"),
        ("h:-1=native", "'-1' is not a port from 1 to 65535"),
        ("h:٣=native", "'٣' is not a port from 1 to 65535"),
        ("h:000000080=native", "'000000080' is not a port from 1 to 65535"),
        ("https://h:0=native", "'0' is not a port from 1 to 65535"),
        ("[::1]:x=native", "'x' is not a port from 1 to 65535"),
        ("a b=native", "it has a blank or a character that cannot be printed"),
        ("h/a b=native", "it has a blank or a character that cannot be printed"),
        ("h\x1b=native", "it has a blank or a character that cannot be printed"),
        ("h/\udc80=native", "it has a blank or a character that cannot be printed"),
        ("user@h=native", "it has a user name or password"),
        ("https://user:secret@h/v1=native", "it has a user name or password"),
        ("h/v1?x=1=native", "'?' does not belong in it"),
        ("h/v1#x=native", "'#' does not belong in it"),
        ("h\\v1=native", "'\\\\' does not belong in it"),
        ("ftp://h=native", "'ftp' is not http or https"),
        ("://h=native", "'' is not http or https"),
        ("*.openai.azure.com=native", "'*.openai.azure.com' is not a host name"),
        ("-h=native", "'-h' is not a host name"),
        ("h-=native", "'h-' is not a host name"),
        ("a..b=native", "'a..b' is not a host name"),
        ("h..=native", "'h..' is not a host name"),
        (".=native", "'.' is not a host name"),
        ("ü..b=native", "'ü..b' is not a host name"),
        ("h,i=native", "'h,i' is not a host name"),
        ("a%2eb=native", "'a%2eb' is not a host name"),
        ("[::1=native", "'[::1' is not an IPv6 address"),
        ("[]=native", "there is no IPv6 address between the brackets"),
        ("[h]:80=native", "there is no IPv6 address between the brackets"),
        ("[::g]=native", "'::g' is not an IPv6 address"),
        ("1:2:3=native", "'1:2:3' is not an IPv6 address"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_value_the_problem_and_the_form(value: str, problem: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_route(value)
    assert str(caught.value) == (
        f"Expected a route of the form host[:port][/path-prefix]=type, got {value!r}: {problem}. "
        "Types: openai, anthropic, native, openrouter, gateway. Example: https://llm.example.com/v1=gateway"
    )


@pytest.mark.parametrize("value", ["x" * 10_000_000, "h=" + "x" * 10_000_000, "x" * 10_000_000 + "=native"])
def test_a_refusal_of_something_long_is_short(value: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_route(value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["a" * 63 + ".b", ".".join(["a" * 49] * 5) + ".xyz"])
def test_the_longest_host_names_are_taken(name: str) -> None:
    assert canonical_host(name + ".") == name


@pytest.mark.parametrize(
    "name", ["a" * 64, ".".join(["a" * 49] * 5) + ".wxyz", "ü" * 64, "a" + "\u00ad" * 300, "ü" * 10_000_000]
)
def test_longer_host_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        canonical_host(name)


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (Route("h", None, (), NATIVE), "h=native"),
        (Route("h", 80, ("v1", "*"), NATIVE), "h:80/v1/*=native"),
        (Route("::1", None, (), NATIVE), "[::1]=native"),
        (Route("::1", 80, ("a b", "c/d", "é"), NATIVE), "[::1]:80/a%20b/c%2Fd/%C3%A9=native"),
    ],
)
def test_a_route_is_written_as_it_is_read(route: Route, text: str) -> None:
    assert str(route) == text


def test_a_route_with_a_host_off_the_wire_is_safe_to_print() -> None:
    assert str(Route("h\x1b[31m\udc80", None, (), RouteType.GATEWAY)) == "h\\x1b[31m\\udc80=gateway"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ()),
        ("/", ()),
        ("*", ("*",)),
        ("/v1/chat", ("v1", "chat")),
        ("//v1///chat/", ("v1", "chat")),
        ("/v1/./chat/.", ("v1", "chat")),
        ("/v1/x/../chat", ("v1", "chat")),
        ("/../../v1", ("v1",)),
        ("/v1/%2e%2E/v2", ("v2",)),
        ("/v1%2Fchat", ("v1", "chat")),
        ("/v1/a%2F..%2Fb", ("v1", "b")),
        ("/%76%31", ("v1",)),
        ("/%2576", ("%76",)),
        ("/v1?model=/x/../y", ("v1",)),
        ("/v1#/x", ("v1",)),
        ("/v1/%3Fx", ("v1", "?x")),
        ("/%ff%", ("\ufffd%",)),
    ],
)
def test_a_path_is_split_as_a_server_would_see_it(path: str, expected: tuple[str, ...]) -> None:
    assert segments(path) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-4o", "gpt-4o"),
        ("größe 模型", "größe 模型"),
        ('a"b\\c', 'a\\"b\\\\c'),
        ("\x1b[31m\r\n\t\x7f", "\\x1b[31m\\r\\n\\t\\x7f"),
        ("\u202egpt\u200b\ud800", "\\u202egpt\\u200b\\ud800"),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 80, "x" * 80),
    ],
)
def test_text_from_outside_is_made_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = names | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
prefixes = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda s: s not in (".", "..") and "/" not in s
    ),
    max_size=4,
).map(tuple)
routes = st.builds(Route, hosts, st.none() | st.integers(1, 65535), prefixes, st.sampled_from(RouteType))


@given(routes)
def test_every_route_survives_being_written_and_read(route: Route) -> None:
    assert parse_route(str(route)) == route


@given(routes)
def test_every_route_is_printable_on_one_line(route: Route) -> None:
    assert str(route).isprintable()


@given(st.text(st.sampled_from(string.printable + "ü\ud800[]:/=.*%@") | st.characters()))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        outcome = str(parse_route(text + "=native"))
    except RouteError as e:
        outcome = str(e)
    else:
        assert str(parse_route(outcome)) == outcome
    assert outcome.isprintable()


@given(st.text(st.sampled_from("/.%2eF?#a\ud800") | st.characters()))
def test_no_path_leaves_segments_that_could_mislead(path: str) -> None:
    assert not [s for s in segments(path) if s in ("", ".", "..") or "/" in s]


@given(st.text())
def test_printable_text_is_printable_and_short(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) <= 80 * len("\\U0010ffff")
