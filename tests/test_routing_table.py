"""Which route a request falls under, and what the user is told about routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.routing import RouteType, Severity, Table, judge, parse_route, warnings_for
from sseguard.routing.vendors import BUILT_IN, VENDORS, vendor_behind

CLOUDFLARE = "gateway.ai.cloudflare.com"


def table(*values: str) -> Table:
    return Table([parse_route(value) for value in values])


def found(host: str, path: str = "/v1/chat/completions", *, port: int = 443, routes: tuple[str, ...] = ()) -> str:
    return str(table(*routes).find(host, port, path))


# --- built-in routes ---


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("us.api.openai.com", "openai"),
        ("api.anthropic.com", "anthropic"),
        ("api.deepseek.com", "native"),
        ("api.mistral.ai", "native"),
        ("codestral.mistral.ai", "native"),
        ("api.x.ai", "native"),
        ("eu-west-1.api.x.ai", "native"),
        ("api.cohere.com", "native"),
        ("api.cohere.ai", "native"),
        ("generativelanguage.googleapis.com", "native"),
        ("api.moonshot.ai", "native"),
        ("openrouter.ai", "openrouter"),
        ("eu.openrouter.ai", "openrouter"),
        ("api.groq.com", "gateway"),
        ("api.together.xyz", "gateway"),
        ("api.fireworks.ai", "gateway"),
        ("router.huggingface.co", "gateway"),
        ("integrate.api.nvidia.com", "gateway"),
        ("api.perplexity.ai", "gateway"),
        ("mine.openai.azure.com", "gateway"),
        ("localhost", "gateway"),
        ("openai.com", "gateway"),
        ("xapi.openai.com", "gateway"),
        ("api.openai.com.evil.example", "gateway"),
    ],
)
def test_well_known_hosts_have_their_type_and_all_others_are_gateways(host: str, kind: str) -> None:
    assert found(host) == f"{host}={kind}"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/account/gateway/openai/chat/completions", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway/openai", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway/openai?x=/compat", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway/anthropic/v1/messages", "/v1/*/*/anthropic=anthropic"),
        ("/v1/account/gateway/deepseek/chat/completions", "/v1/*/*/deepseek=native"),
        ("/v1/account/gateway/openrouter/v1/chat/completions", "/v1/*/*/openrouter=openrouter"),
        ("/v1/account/gateway/compat/chat/completions", "/v1/*/*/compat=gateway"),
        ("/v1/account/gateway/groq/chat/completions", "=gateway"),
        ("/v1/account/gateway/openai-like/chat/completions", "=gateway"),
        ("/v1/account/openai/chat/completions", "=gateway"),
        ("/v1/a/b/c/openai/chat/completions", "=gateway"),
        ("/v1//account///gateway/openai/x", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway/compat/../openai/x", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway/compat/%2e%2E/openai/x", "/v1/*/*/openai=openai"),
        ("/./v1/account/gateway/%6Fpenai/x", "/v1/*/*/openai=openai"),
        ("/v1/account/gateway%2Fopenai/x", "/v1/*/*/openai=openai"),
        ("/../v1/account/gateway/openai/../compat/x", "/v1/*/*/compat=gateway"),
    ],
)
def test_a_gateway_path_that_stands_for_a_vendor_has_that_vendors_type(path: str, route: str) -> None:
    assert found(CLOUDFLARE, path) == CLOUDFLARE + route


def test_built_in_routes_read_as_they_are_written_and_do_not_repeat() -> None:
    assert [parse_route(str(route)) for route in BUILT_IN] == list(BUILT_IN)
    assert len({route.pattern for route in BUILT_IN}) == len(BUILT_IN)


def test_no_two_vendors_share_a_prefix_or_a_host() -> None:
    prefixes = [prefix for vendor in VENDORS for prefix in (vendor.slug, *vendor.aliases)]
    hosts = [host for vendor in VENDORS for host in vendor.hosts]
    assert len({*prefixes, *hosts}) == len(prefixes) + len(hosts)


def test_each_native_route_leads_to_the_vendor_that_it_was_made_for() -> None:
    for vendor in VENDORS:
        assert all(vendor_behind(Table().find(host, 443, "/")) is vendor for host in vendor.hosts)


# --- finding a route ---


@pytest.mark.parametrize("host", ["API.OpenAI.com", "api.openai.com.", "API.OPENAI.COM.", "api。openai。com"])
def test_a_host_is_found_in_any_spelling(host: str) -> None:
    assert found(host) == "api.openai.com=openai"


@pytest.mark.parametrize("host", ["::1", "[::1]", "0:0:0:0:0:0:0:1", "[0::0001]"])
def test_an_ipv6_host_is_found_in_any_spelling(host: str) -> None:
    assert found(host, port=8080, routes=("http://[::1]:8080/v1=native",)) == "[::1]:8080/v1=native"


@pytest.mark.parametrize("host", ["", ".", "[", "[]", "a b", "a..b", "\x00", "\udc80", "1:2", "ü" * 100_000, "/" * 9])
def test_a_host_that_cannot_be_read_is_a_gateway(host: str) -> None:
    assert table("h=native").find(host, 443, "/").type is RouteType.GATEWAY


@pytest.mark.parametrize("route", ["h=native", "h:443=native", "https://h=native", "https://h:443/v1=native"])
def test_all_ways_to_name_an_https_host_cover_its_port_443(route: str) -> None:
    assert table(route).find("h", 443, "/v1/x").type is RouteType.NATIVE


@pytest.mark.parametrize(
    ("route", "port", "kind"),
    [
        ("h=native", 8080, "native"),
        ("h:8080=native", 8080, "native"),
        ("h:443=native", 8080, "gateway"),
        ("https://h=native", 8080, "gateway"),
        ("http://h=native", 443, "gateway"),
        ("http://h=native", 80, "native"),
    ],
)
def test_a_port_is_only_compared_where_one_is_named(route: str, port: int, kind: str) -> None:
    assert table(route).find("h", port, "/").type == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1", "native"),
        ("/v1/", "native"),
        ("/v1/x", "native"),
        ("/v1?x", "native"),
        ("/v1%2Fx", "native"),
        ("/v10", "gateway"),
        ("/v1x/y", "gateway"),
        ("/", "gateway"),
        ("", "gateway"),
        ("/x/v1", "gateway"),
        ("/V1", "gateway"),
        ("/?/v1", "gateway"),
    ],
)
def test_a_prefix_is_compared_by_whole_segments(path: str, kind: str) -> None:
    assert table("h/v1=native").find("h", 443, path).type == kind


@pytest.mark.parametrize(("path", "kind"), [("/a/x/b", "native"), ("/a/b", "gateway"), ("/a/x/y/b", "gateway")])
def test_a_star_stands_for_exactly_one_segment(path: str, kind: str) -> None:
    assert table("h/a/*/b=native").find("h", 443, path).type == kind


@pytest.mark.parametrize(
    ("weaker", "stronger", "path"),
    [
        ("h", "h/v1", "/v1/x"),
        ("h/v1", "h/v1/x", "/v1/x"),
        ("h:443", "h/*", "/v1/x"),
        ("h/a", "h/*/*", "/a/b"),
        ("h/*", "h/v1", "/v1"),
        ("h/*/*", "h/*/b", "/a/b"),
        ("h/*/b", "h/a/*", "/a/b"),
        ("h:443/*", "h/v1", "/v1"),
        ("h", "h:443", "/"),
        ("h/v1", "https://h/v1", "/v1"),
        ("h/*", "h:443/*", "/v1"),
    ],
)
def test_the_more_specific_route_wins_in_any_order(weaker: str, stronger: str, path: str) -> None:
    pair = (f"{weaker}=openai", f"{stronger}=anthropic")
    assert table(*pair).find("h", 443, path).type is RouteType.ANTHROPIC
    assert table(*reversed(pair)).find("h", 443, path).type is RouteType.ANTHROPIC


@pytest.mark.parametrize(
    ("route", "host", "path"),
    [
        ("api.openai.com=gateway", "api.openai.com", "/v1"),
        ("https://API.openai.com/v1=gateway", "api.openai.com", "/v1"),
        (f"{CLOUDFLARE}/v1/*/*/openai=gateway", CLOUDFLARE, "/v1/a/b/openai"),
        (f"{CLOUDFLARE}/v1/a/b/openai=gateway", CLOUDFLARE, "/v1/a/b/openai"),
        ("openrouter.ai=gateway", "openrouter.ai", "/api/v1"),
    ],
)
def test_a_users_route_beats_a_built_in_one_that_is_no_more_specific(route: str, host: str, path: str) -> None:
    assert found(host, path, routes=(route,)) == str(parse_route(route))


def test_a_users_short_route_leaves_longer_built_in_ones_in_force() -> None:
    assert (
        found(CLOUDFLARE, "/v1/a/b/openai", routes=(f"{CLOUDFLARE}=gateway",)) == f"{CLOUDFLARE}/v1/*/*/openai=openai"
    )


def test_the_last_of_two_routes_for_the_same_addresses_counts() -> None:
    assert found("h", routes=("h=openai", "H.=native")) == "h=native"


# --- warnings when options are set ---


@pytest.mark.parametrize("kind", ["openai", "anthropic", "native"])
@pytest.mark.parametrize(
    "pattern", ["openrouter.ai", "openrouter.ai/api", "openrouter.ai:443/api/v1", "eu.openrouter.ai", "x.openrouter.ai"]
)
def test_an_openrouter_host_typed_as_one_vendor_is_warned_about_and_blocks_slash_ids(pattern: str, kind: str) -> None:
    route = parse_route(f"{pattern}={kind}")
    [warning] = warnings_for([route])
    assert warning == (
        "Expected type openrouter in sse_routes for what is known to take vendor/model ids, "
        f"got '{pattern}={kind}': each of these ids will be blocked there. "
        f"Write {pattern}=openrouter, or leave the entry out."
    )
    at = Table([route]).find(route.host, 443, "/api/v1/chat/completions")
    assert [(f.severity, f.model) for f in judge(at, ["openai/gpt-4o", "gpt-4o", "a/b"])] == [
        (Severity.BLOCK, "openai/gpt-4o"),
        (Severity.BLOCK, "a/b"),
    ]


def test_a_gateway_path_typed_as_one_vendor_is_warned_about() -> None:
    [warning] = warnings_for([parse_route(f"https://{CLOUDFLARE}/v1/me/mine/compat=openai")])
    assert warning.startswith("Expected type gateway in sse_routes for what is known to take vendor/model ids, got ")


@pytest.mark.parametrize(
    "value",
    [
        "openrouter.ai=openrouter",
        "openrouter.ai=gateway",
        "api.openai.com=anthropic",
        "h=openai",
        f"{CLOUDFLARE}=openai",
        f"{CLOUDFLARE}/v1/a/b/openai=native",
        "notopenrouter.ai=openai",
        "openrouter.ai.example=openai",
    ],
)
def test_other_routes_need_no_warning(value: str) -> None:
    assert warnings_for([parse_route(value)]) == ()


def test_the_same_mistake_twice_is_warned_about_once() -> None:
    assert len(warnings_for([parse_route("openrouter.ai=openai"), parse_route("OpenRouter.ai=openai")])) == 1


def test_one_address_with_two_types_is_warned_about() -> None:
    routes = [parse_route(value) for value in ("h=openai", "h=openai", "H/=gateway", "i=native", "i=native")]
    assert warnings_for(routes) == (
        "Expected one type for h in sse_routes, got openai, then openai, then gateway: the last one counts.",
    )


# --- any address ---


@given(st.text() | st.sampled_from([route.host for route in BUILT_IN]), st.integers(0, 65535), st.text())
def test_any_address_falls_under_one_route_whatever_the_case_of_its_host(host: str, port: int, path: str) -> None:
    route = Table().find(host, port, path)
    assert str(route).isprintable()
    if host.isascii():
        assert Table().find(host.upper(), port, path).type is route.type
        assert Table().find(host.lower(), port, path).type is route.type


@given(st.integers(0, 20), st.text(st.characters(exclude_characters="/?#%", exclude_categories=["Cs"]), min_size=1))
def test_no_detour_in_a_path_changes_its_route(depth: int, name: str) -> None:
    detour = f"/{name}" * depth + "/%2E." * depth if name not in (".", "..") else ""
    assert found(CLOUDFLARE, f"{detour}//v1/./a/b/openai/x") == f"{CLOUDFLARE}/v1/*/*/openai=openai"
