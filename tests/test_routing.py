"""The judgement on the models that a request asks for, and its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.routing import (
    Finding,
    Route,
    Severity,
    Table,
    describe,
    judge,
    message_for,
    models_in,
    parse_route,
)
from sseguard.routing.vendors import BUILT_IN

CLOUDFLARE = "gateway.ai.cloudflare.com"
OPENROUTER = "OpenRouter (https://openrouter.ai/api/v1)"
REJECTED = "it is most likely rejected as an unknown model"
SLASH_ID = "some-vendor/some-model"


def the_finding(route: str, model: str) -> Finding:
    [finding] = judge(parse_route(route), [model])
    return finding


# --- slash ids on a route to one vendor ---


@pytest.mark.parametrize("kind", ["openai", "anthropic", "native"])
def test_a_slash_id_on_a_route_to_one_vendor_is_blocked(kind: str) -> None:
    assert the_finding(f"h={kind}", SLASH_ID).severity is Severity.BLOCK


@pytest.mark.parametrize(
    "model",
    [
        "a/b",
        "openai/gpt-4o:free",
        "OPENAI/GPT-4o",
        "  a/b\n",
        "a / b",
        "a/b/c",
        "a//b",
        "a/b/",
        "~anthropic/claude-latest",
        "openai/ft:gpt-4o:org::id",
        "model/x",
        "xmodels/y",
        "draft:x/y",
        "openrouter/auto",
        "https://hf.co/a/b",
        "a/ b",
    ],
)
def test_text_on_both_sides_of_the_first_slash_makes_a_slash_id(model: str) -> None:
    assert [f.model for f in judge(parse_route("api.openai.com=openai"), [model])] == [model]


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4o:free",
        "",
        " ",
        "/",
        "//",
        "a/",
        "a//",
        "a/ ",
        "a/ /",
        "/a/b",
        " /a/b",
        "/models/llama.gguf",
        "ft:gpt-4o-mini:org/team::id",
        "models/gemini-2.5-pro",
        "tunedModels/mine",
        "accounts/x/models/y",
        "a\N{FULLWIDTH SOLIDUS}b",
        "publishers/google/models/gemini",
        "projects/p/locations/l/endpoints/e",
        "@cf/meta/llama-3",
        "hf.co/a/b:Q4",
        "arn:aws:bedrock:us-east-1:1:inference-profile/x",
        " models/gemini",
        "Models/gemini",
        "HF.co/a/b",
    ],
)
def test_other_ids_pass_on_a_route_to_one_vendor(model: str) -> None:
    assert judge(parse_route("api.openai.com=openai"), [model]) == []


@pytest.mark.parametrize("model", [SLASH_ID, "a/b/c", "gpt-4o", "openrouter/openai/gpt-4o", "", "models/x"])
def test_a_gateway_takes_every_id(model: str) -> None:
    assert judge(parse_route("h=gateway"), [model]) == []


def test_each_bad_id_is_told_once_in_order() -> None:
    findings = judge(parse_route("api.openai.com=openai"), ["a/b", "gpt-4o", "c/d", "a/b"])
    assert [finding.model for finding in findings] == ["a/b", "c/d"]


def test_a_fallback_is_judged_like_the_model() -> None:
    asked = models_in(b'{"model": "gpt-4o", "models": ["gpt-4o-mini", "anthropic/claude-sonnet-4.5"]}', "/v1/x")
    findings = judge(Table().find("api.openai.com", 443, "/v1/x"), asked.models)
    assert [finding.model for finding in findings] == ["anthropic/claude-sonnet-4.5"]


def test_findings_stay_few_for_a_list_without_end() -> None:
    findings = judge(parse_route("h=openai"), (f"a/{i}" for i in range(100_000)))
    assert len(findings) == 100


@pytest.mark.parametrize(
    ("route", "becomes"),
    [
        ("api.openai.com=openai", REJECTED),
        ("https://eu.api.openai.com/v1=openai", REJECTED),
        ("api.deepseek.com=native", REJECTED),
        ("h=openai", f'its prefix is stripped, which leaves "m:free", or {REJECTED.replace("most likely ", "")}'),
        (
            f"{CLOUDFLARE}/v1/*/*/openai=openai",
            'its prefix is stripped, which leaves "m:free", or it is rejected as an unknown model',
        ),
    ],
)
def test_a_finding_says_what_the_provider_would_make_of_the_id(route: str, becomes: str) -> None:
    assert the_finding(route, "v/m:free").becomes == becomes


@pytest.mark.parametrize(
    ("route", "model", "belongs"),
    [
        (
            "api.openai.com=openai",
            "openai/gpt-4o",
            f'"gpt-4o" here (OpenAI\'s list of models has the exact name), or "openai/gpt-4o" on {OPENROUTER}',
        ),
        (
            "h=openai",
            " OpenAI/gpt-4o:free ",
            f'"gpt-4o" here (OpenAI\'s list of models has the exact name), or "OpenAI/gpt-4o:free" on {OPENROUTER}',
        ),
        (
            "api.openai.com=openai",
            "openai/ft:gpt-4o:org::id",
            (
                '"ft:gpt-4o:org::id" here (OpenAI\'s list of models has the exact name), or '
                f'"openai/ft:gpt-4o:org::id" on {OPENROUTER}'
            ),
        ),
        (
            "api.openai.com=openai",
            "anthropic/claude-sonnet-4.5",
            (
                f'"anthropic/claude-sonnet-4.5" on {OPENROUTER}, or Anthropic\'s own API (https://api.anthropic.com), '
                'under a name like "claude-sonnet-4-5"'
            ),
        ),
        (
            "api.anthropic.com=anthropic",
            "anthropic/claude-3.7-sonnet:thinking",
            (
                '"claude-3-7-sonnet" here (Anthropic\'s list of models has the exact name), or '
                f'"anthropic/claude-3.7-sonnet:thinking" on {OPENROUTER}'
            ),
        ),
        (
            "api.mistral.ai=native",
            "mistral/mistral-large-2411",
            (
                '"mistral-large-2411" here (Mistral\'s list of models has the exact name), or '
                f'"mistralai/mistral-large-2411" on {OPENROUTER}'
            ),
        ),
        (
            f"{CLOUDFLARE}/v1/*/*/grok=native",
            "xai/grok-4",
            (
                "\"grok-4\" here (xAI's list of models has the exact name), or this gateway's /compat path, "
                f'which takes vendor/model ids, or "x-ai/grok-4" on {OPENROUTER}'
            ),
        ),
        (
            "h=native",
            "google/gemini/2.5",
            (
                f'"google/gemini/2.5" on {OPENROUTER}, or Google\'s own API '
                "(https://generativelanguage.googleapis.com/v1beta)"
            ),
        ),
        ("api.openai.com=openai", "openai/gpt/4o", f'"openai/gpt/4o" on {OPENROUTER}'),
        ("api.openai.com=openai", "meta-llama/llama-3.3-70b", f'"meta-llama/llama-3.3-70b" on {OPENROUTER}'),
        ("api.openai.com=openai", "openrouter/auto:online", f'"openrouter/auto:online" on {OPENROUTER}'),
        ("api.openai.com=openai", "openrouter/openai/gpt-4o", f'"openai/gpt-4o" on {OPENROUTER}'),
        ("api.openai.com=openai", "nobody/knows", None),
        (
            "openrouter.ai=openai",
            "openai/gpt-4o",
            "to set this route's type to openrouter, as the host is OpenRouter and takes such ids",
        ),
    ],
)
def test_a_finding_says_where_the_id_does_belong(route: str, model: str, belongs: str | None) -> None:
    assert the_finding(route, model).belongs == belongs


# --- mirror cases ---


@pytest.mark.parametrize(
    ("model", "belongs"),
    [
        ("gpt-4o", 'an id that starts with "openai/"'),
        (" Claude-sonnet-4-5", 'an id that starts with "anthropic/"'),
        ("o3-mini", 'an id that starts with "openai/"'),
        ("kimi-k2:free", 'an id that starts with "moonshotai/"'),
        ("house-model", "an id of the form vendor/model"),
        ("openrouter/anthropic/claude-sonnet-4.5", '"anthropic/claude-sonnet-4.5"'),
        ("OpenRouter/openai/gpt-4o:free", '"openai/gpt-4o:free"'),
    ],
)
def test_a_bare_or_doubled_id_on_openrouter_is_warned_about(model: str, belongs: str) -> None:
    becomes = "it is most likely rejected, as OpenRouter's ids are vendor/model"
    route = parse_route("openrouter.ai=openrouter")
    assert judge(route, [model]) == [Finding(Severity.WARN, route, model, becomes, belongs)]


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o",
        "openai/gpt-4o:free",
        "openrouter/auto",
        "openrouter/auto:online",
        "openrouter/auto/",
        "a/b/c",
        "@preset/mine",
        "openai/gpt-4o@preset/mine",
        "~anthropic/claude-latest",
        "",
        " ",
    ],
)
def test_other_ids_pass_on_openrouter(model: str) -> None:
    assert judge(parse_route("openrouter.ai=openrouter"), [model]) == []


# --- messages ---


def test_the_message_says_what_was_asked_what_would_happen_and_what_to_do() -> None:
    findings = judge(Table().find("api.openai.com", 443, "/v1/responses"), ["openai/gpt-4o"])
    assert message_for(findings) == (
        'The model id "openai/gpt-4o" does not belong on the route api.openai.com=openai: '
        'it is most likely rejected as an unknown model. Did you mean "gpt-4o" here (OpenAI\'s list of models has the '
        f'exact name), or "openai/gpt-4o" on {OPENROUTER}? The request was not sent. If this route does take such ids, '
        "add api.openai.com=gateway to sse_routes; sse_model_guard=warn or off lets such requests pass."
    )


def test_the_message_for_an_openrouter_host_names_its_right_type() -> None:
    findings = judge(parse_route("openrouter.ai/api=openai"), ["openai/gpt-4o"])
    assert "add openrouter.ai/api=openrouter to sse_routes" in message_for(findings)


def test_an_id_of_unknown_making_is_sent_to_gateways() -> None:
    assert describe(the_finding("api.x.ai=native", SLASH_ID)) == (
        f'The model id "{SLASH_ID}" does not belong on the route api.x.ai=native: {REJECTED}. '
        f"An id with a slash belongs on a gateway, such as {OPENROUTER}."
    )


def test_a_message_names_three_models_and_says_if_there_are_more() -> None:
    findings = judge(parse_route("h=openai"), ["a/1", "a/2", "a/3", "a/4"])
    assert [f"a/{i}" in message_for(findings) for i in (1, 2, 3, 4)] == [True, True, True, False]
    assert "More of the models asked for do not belong there either." in message_for(findings)
    assert "More of the models" not in message_for(findings[:3])


@pytest.mark.parametrize(
    ("duplicates", "told"), [((), 0), (("stream", "n"), 0), (("model", "n"), 1), (("model", "models"), 2)]
)
def test_a_message_says_when_a_repeated_key_named_the_models(duplicates: tuple[str, ...], told: int) -> None:
    findings = judge(parse_route("h=openai"), ["a/b"])
    assert message_for(findings, duplicates).count("more than once; providers differ on which they read") == told


def test_a_hostile_id_is_escaped_and_shortened() -> None:
    message = message_for([the_finding("h=openai", 'openai/\x1b[31m\r\n\u202e\ud800"' + "x" * 10_000_000)])
    assert message.isprintable()
    assert '"openai/\\x1b[31m\\r\\n\\u202e\\ud800\\"xxx' in message
    assert len(message) < 1500


@given(
    st.sampled_from([*BUILT_IN, *map(parse_route, ("h=openai", "h=openrouter", "h=gateway", "openrouter.ai=native"))]),
    st.lists(st.text() | st.text(st.sampled_from("/: \n.openrutaic@")), max_size=5),
)
def test_any_ids_are_judged_and_described(route: Route, models: list[str]) -> None:
    findings = judge(route, models)
    assert {finding.model for finding in findings} <= set(models)
    assert all(describe(finding).isprintable() for finding in findings)
    assert not findings or message_for(findings, ("model",)).isprintable()
