"""The model guard end to end: what is blocked, what passes, and that nobody upstream hears of what is blocked."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import brotli
import httpx
import openai
import pytest
import zstandard

from harness import Connection, Proxy, Upstream
from harness.apis import ANTHROPIC, APIS, CHAT, GEMINI, Api
from harness.raw import RawClient, post
from harness.stage import REGULAR, REGULAR_H2, REVERSE, REVERSE_TO_TLS, WAYS, Stage, Way

SLASH, BARE = "openai/gpt-5.2", "gpt-5.2"


def provider(connection: Connection) -> None:
    while True:
        connection.read_request()
        connection.answer(*CHAT.healthy)


@pytest.fixture(scope="module", autouse=True)
def _provider(shared_stage: Stage) -> None:
    shared_stage.play(provider)


def port_of(stage: Stage, way: Way) -> int:
    return stage.upstreams[way.out].port


def typed(stage: Stage, kind: str, prefix: str = "", way: Way = REVERSE) -> dict[str, list[str]]:
    """The option that makes the upstream of `way` a route of this type."""
    return {"sse_routes": [f"127.0.0.1:{port_of(stage, way)}{prefix}={kind}"]}


def connections(stage: Stage) -> int:
    return sum(upstream.connections for upstream in stage.upstreams.values())


def asking(model: Any, **more: Any) -> dict[str, Any]:
    return {**CHAT.request, "model": model, **more}


def assert_blocked(response: httpx.Response) -> None:
    assert response.status_code == 400
    assert response.headers["x-sseguard"] == "misrouted"
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["content-type"] == "application/json"


# Nobody hears of it


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_blocked_request_opens_no_connection_to_upstream(stage: Stage, way: Way) -> None:
    before = connections(stage)
    with stage.options(**typed(stage, "openai", way=way)):
        assert_blocked(stage.ask(way, json=asking(SLASH)))
    assert connections(stage) == before
    flow = stage.flow()
    assert flow["server_connected"] is False
    assert (flow["facts"]["verdict"], flow["facts"]["status"], flow["marked"]) == ("misrouted", 400, ":red_circle:")
    assert flow["facts"]["model"] == SLASH


@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_a_blocked_request_opens_no_connection_even_if_connections_were_to_be_eager(
    tmp_path_factory: pytest.TempPathFactory, mode: str
) -> None:
    with Upstream.running(provider) as upstream:
        options = {"connection_strategy": "eager", "sse_routes": f"127.0.0.1:{upstream.port}=native"}
        folder = tmp_path_factory.mktemp("eager")
        where = f"reverse:{upstream.url}" if mode == "reverse" else "regular"
        with Proxy.running(folder, mode=where, options=options) as proxy, RawClient.connected(proxy.port) as client:
            for _ in range(2):
                reply = client.ask(f"{upstream.url}{CHAT.path}" if mode == "regular" else CHAT.path, asking(SLASH))
                assert (reply.status, reply.reason) == (400, "misrouted")
            assert proxy.flow()["server_connected"] is False
            proxy.assert_unharmed()
        assert upstream.connections == 0


def test_a_client_connection_stays_usable_behind_a_block(stage: Stage) -> None:
    with stage.options(**typed(stage, "openai")), stage.client(REVERSE) as client:
        for _ in range(3):
            assert_blocked(client.post(CHAT.path, json=asking(SLASH)))
            assert client.post(CHAT.path, json=asking(BARE)).content == b"".join(CHAT.healthy)


# Rules


@pytest.mark.parametrize("kind", ["openai", "anthropic", "native"])
def test_a_slash_id_is_blocked_on_a_route_to_one_vendor(stage: Stage, kind: str) -> None:
    with stage.options(**typed(stage, kind)):
        assert_blocked(stage.ask(REVERSE, json=asking(SLASH)))
        assert stage.ask(REVERSE, json=asking(BARE)).status_code == 200


@pytest.mark.parametrize("kind", ["openrouter", "gateway"])
def test_a_slash_id_passes_on_a_route_to_many(stage: Stage, kind: str) -> None:
    with stage.options(**typed(stage, kind)):
        assert stage.ask(REVERSE, json=asking(SLASH)).content == b"".join(CHAT.healthy)


def test_a_slash_id_passes_where_nothing_is_known(stage: Stage) -> None:
    assert stage.ask(REVERSE, json=asking(SLASH)).status_code == 200


@pytest.mark.parametrize(
    "model",
    [
        "ft:gpt-4o:acme/team::id",
        "models/gemini-2.5-pro",
        "tunedModels/mine",
        "accounts/fireworks/models/x",
        "publishers/google/models/x",
        "projects/p/locations/l",
        "arn:aws:bedrock:x/y",
        "@cf/meta/llama",
        "hf.co/org/model",
        "/data/model.gguf",
        "trailing/",
        "",
        None,
        7,
        ["a/b"],
        {"a/b": 1},
    ],
)
def test_what_is_no_slash_id_passes(stage: Stage, model: Any) -> None:
    with stage.options(**typed(stage, "native")):
        assert stage.ask(REVERSE, json=asking(model)).status_code == 200


def test_the_message_names_route_id_fate_and_what_was_meant(stage: Stage) -> None:
    with stage.options(**typed(stage, "native")):
        error = stage.ask(REVERSE, json=asking(SLASH)).json()["error"]
    route = f"127.0.0.1:{port_of(stage, REVERSE)}=native"
    assert error["message"] == (
        f'The model id "openai/gpt-5.2" does not belong on the route {route}: its prefix is stripped, which leaves '
        '"gpt-5.2", or it is rejected as an unknown model. Did you mean "openai/gpt-5.2" on OpenRouter '
        "(https://openrouter.ai/api/v1), or OpenAI's own API (https://api.openai.com/v1), under a name like "
        f'"gpt-5.2"? The request was not sent. If this route does take such ids, add {route[:-7]}=gateway to '
        "sse_routes; sse_model_guard=warn or off lets such requests pass."
    )
    (finding,) = error["metadata"]["findings"]
    assert (finding["model"], finding["route"]) == (SLASH, route)
    assert "OpenRouter" in finding["did_you_mean"]


def test_fallback_models_are_judged_too(stage: Stage) -> None:
    with stage.options(**typed(stage, "openai")):
        response = stage.ask(REVERSE, json=asking(BARE, models=[BARE, SLASH]))
    assert_blocked(response)
    assert [finding["model"] for finding in response.json()["error"]["metadata"]["findings"]] == [SLASH]


@pytest.mark.parametrize("order", [(SLASH, BARE), (BARE, SLASH)])
def test_each_of_two_models_under_one_key_counts(stage: Stage, order: tuple[str, str]) -> None:
    body = f'{{"model": "{order[0]}", "stream": true, "model": "{order[1]}"}}'
    with stage.options(**typed(stage, "openai")):
        response = stage.ask(REVERSE, content=body)
    assert_blocked(response)
    assert 'holds "model" more than once' in response.json()["error"]["message"]


def test_the_model_in_a_gemini_path_is_judged(stage: Stage) -> None:
    path = "/v1beta/models/google/gemini-2.5-pro:streamGenerateContent?alt=sse"
    with stage.options(**typed(stage, "native")):
        response = stage.ask(REVERSE, GEMINI, path=path)
        assert_blocked(response)
        assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert stage.ask(REVERSE, GEMINI).status_code == 200


@pytest.mark.parametrize("api", [api for api in APIS if api is not GEMINI], ids=str)
def test_the_block_is_told_in_the_dialect_of_the_endpoint(stage: Stage, api: Api) -> None:
    with stage.options(**typed(stage, "native")):
        response = stage.ask(REVERSE, api, json={**api.request, "model": SLASH})
    assert_blocked(response)
    body = response.json()
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["metadata"]["reason"] == "misrouted"
    assert body.get("type") == ("error" if api is ANTHROPIC else None)
    assert body["error"].get("code") == (None if api is ANTHROPIC else 400)


# Bodies

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "GZip, br": lambda body: brotli.compress(gzip.compress(body)),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("model", "status"), [(SLASH, 400), (BARE, 200)])
def test_a_compressed_body_is_judged(stage: Stage, coding: str, model: str, status: int) -> None:
    body = CODINGS[coding](json.dumps(asking(model)).encode())
    with stage.options(**typed(stage, "openai")):
        response = stage.ask(REVERSE, content=body, headers={"content-encoding": coding})
    assert response.status_code == status


@pytest.mark.parametrize(("model", "status"), [(SLASH, 400), (BARE, 200)])
def test_a_body_in_chunks_is_judged(stage: Stage, model: str, status: int) -> None:
    body = json.dumps(asking(model)).encode()
    with stage.options(**typed(stage, "openai")):
        response = stage.ask(REVERSE, content=(body[i : i + 7] for i in range(0, len(body), 7)))
    assert "content-length" not in response.request.headers
    assert response.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"model=openai/gpt-5.2",
        b'{"model": "openai/gpt-5.2"',
        b'[{"model": "openai/gpt-5.2"}]',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"model":' * 50_000,
    ],
    ids=["empty", "form", "half", "list", "bytes", "brackets", "deep"],
)
def test_a_body_that_says_nothing_passes(stage: Stage, body: bytes) -> None:
    with stage.options(**typed(stage, "openai")):
        assert stage.ask(REVERSE, content=body).content == b"".join(CHAT.healthy)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "compress", "nonsense"])
def test_a_body_that_cannot_be_decoded_passes_and_is_guarded(stage: Stage, coding: str) -> None:
    with stage.options(**typed(stage, "openai")):
        response = stage.ask(REVERSE, json=asking(SLASH), headers={"content-encoding": coding})
    assert response.status_code == 200
    assert stage.facts["verdict"] == "answered"
    stage.proxy.wait_for("Model not judged: the body of a request to 127.0.0.1 cannot be read")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_body_in_another_encoding_of_unicode_is_judged(stage: Stage, encoding: str) -> None:
    with stage.options(**typed(stage, "openai")):
        assert_blocked(stage.ask(REVERSE, content=json.dumps(asking(SLASH)).encode(encoding)))


def test_a_request_to_another_path_or_method_passes(stage: Stage) -> None:
    with stage.options(**typed(stage, "openai")):
        assert stage.ask(REVERSE, path="/v1/embeddings", json=asking(SLASH)).status_code == 200
        assert stage.ask(REVERSE, method="PUT", json=asking(SLASH)).status_code == 200


# Addresses


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "LocalHost", "localhost."])
def test_a_host_counts_in_any_spelling(stage: Stage, host: str) -> None:
    port, before = port_of(stage, REVERSE), connections(stage)
    target = f"http://{host}:{port}{CHAT.path}"
    with stage.options(sse_routes=[f"localHost:{port}=openai"]), RawClient.connected(stage.proxy.port) as client:
        reply = client.ask(target, asking(SLASH), host=f"{host}:{port}")
    assert (reply.status, reply.reason) == (400, "misrouted")
    assert connections(stage) == before


def test_a_route_counts_for_its_port_only(stage: Stage) -> None:
    with stage.options(sse_routes=[f"127.0.0.1:{port_of(stage, REVERSE) + 1}=openai"]):
        assert stage.ask(REVERSE, json=asking(SLASH)).status_code == 200
    with stage.options(sse_routes=["127.0.0.1=openai"]):
        assert_blocked(stage.ask(REVERSE, json=asking(SLASH)))


def test_the_longest_path_prefix_counts(stage: Stage) -> None:
    host = f"127.0.0.1:{port_of(stage, REVERSE)}"
    routes = [f"{host}=gateway", f"{host}/*/one=openai", f"{host}/*/one/compat=gateway"]
    with stage.options(sse_routes=routes):
        assert_blocked(stage.ask(REVERSE, path="/one/chat/completions", json=asking(SLASH)))
        assert_blocked(stage.ask(REVERSE, path="/./%6Fne//chat/completions", json=asking(SLASH)))
        assert stage.ask(REVERSE, path="/one/compat/chat/completions", json=asking(SLASH)).status_code == 200
        assert stage.ask(REVERSE, path="/two/chat/completions", json=asking(SLASH)).status_code == 200


@pytest.mark.parametrize(
    ("url", "model", "blocked"),
    [
        ("https://api.openai.com/v1/chat/completions", SLASH, True),
        ("https://API.OpenAI.com./v1/responses", SLASH, True),
        ("https://api.anthropic.com/v1/messages", "anthropic/claude-sonnet-4.5", True),
        ("https://api.deepseek.com/chat/completions", "deepseek/deepseek-chat", True),
        ("https://api.mistral.ai/v1/chat/completions", "mistralai/mistral-large", True),
        ("https://api.x.ai/v1/chat/completions", "x-ai/grok-4", True),
        ("https://gateway.ai.cloudflare.com/v1/acct/gw/openai/chat/completions", SLASH, True),
        ("https://gateway.ai.cloudflare.com/v1/acct/gw/compat/chat/completions", SLASH, False),
        ("https://openrouter.ai/api/v1/chat/completions", SLASH, False),
        ("https://api.groq.com/openai/v1/chat/completions", SLASH, False),
    ],
)
def test_known_providers_are_known(known: Proxy, url: str, model: str, blocked: bool) -> None:
    with RawClient.connected(known.port) as client:
        reply = client.ask(url.replace("https://", "http://"), asking(model))
    assert reply.status == (400 if blocked else 204)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that answers by itself whatever is not blocked, so that nothing leaves the machine."""
    folder = tmp_path_factory.mktemp("known")
    script = folder / "answer.py"
    script.write_text(
        "from mitmproxy import http\ndef request(flow):\n    flow.response = flow.response or http.Response.make(204)\n"
    )
    with Proxy.running(folder, scripts=(script,)) as proxy:
        yield proxy
        proxy.assert_unharmed()


# Modes


def test_a_warning_lets_the_request_pass_and_names_the_model(stage: Stage) -> None:
    with stage.options(sse_model_guard="warn", **typed(stage, "openai")):
        response = stage.ask(REVERSE, json=asking("openai/warned"))
    assert (response.status_code, response.content) == (200, b"".join(CHAT.healthy))
    route = f"127.0.0.1:{port_of(stage, REVERSE)}=openai"
    stage.proxy.wait_for(f'The model id "openai/warned" does not belong on the route {route}: ')


def test_off_says_nothing(stage: Stage) -> None:
    with stage.options(sse_model_guard="off", **typed(stage, "openai")):
        assert stage.ask(REVERSE, json=asking("openai/unjudged")).status_code == 200
    assert stage.facts["model"] == "openai/unjudged"
    assert '"openai/unjudged" does not belong' not in stage.proxy.output


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("gpt-bare", 'Did you mean an id that starts with "openai/"?'),
        ("nobodys", "Did you mean an id of the form vendor/model?"),
        ("openrouter/openai/gpt-twice", 'Did you mean "openai/gpt-twice"?'),
    ],
)
def test_an_id_that_openrouter_will_not_know_is_warned_about_and_passes(stage: Stage, model: str, meant: str) -> None:
    with stage.options(**typed(stage, "openrouter")):
        assert stage.ask(REVERSE, json=asking(model)).status_code == 200
    assert stage.proxy.wait_for(f'The model id "{model}" does not belong .*').string.endswith(meant)


def test_typing_openrouter_as_one_vendor_is_warned_about_at_start_and_blocks(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options = {"sse_routes": "https://OpenRouter.ai/api=openai"}
    with Proxy.running(tmp_path_factory.mktemp("typed"), options=options) as proxy:
        proxy.wait_for(r"Expected type openrouter in sse_routes .* got 'openrouter.ai:443/api=openai'")
        with RawClient.connected(proxy.port) as client:
            client.send(post("http://openrouter.ai:443/api/v1/chat/completions", asking(SLASH)))
            reply = client.read_reply()
        assert (reply.status, reply.reason) == (400, "misrouted")
        assert "set this route's type to openrouter" in json.loads(reply.body)["error"]["message"]
        proxy.assert_unharmed()


# SDKs


def requests_under(stage: Stage, prefix: str) -> int:
    """How many requests came under this path, all that were sent before now."""
    stage.ask(REVERSE, path="/mark")
    count = 0
    while not (path := stage.proxy.flow()["path"]).endswith("/mark"):
        count += path.startswith(prefix)
    return count


@pytest.mark.parametrize("way", [REVERSE, REVERSE_TO_TLS, REGULAR, REGULAR_H2], ids=str)
def test_the_openai_sdk_raises_its_bad_request_error_and_does_not_retry(stage: Stage, way: Way) -> None:
    with stage.options(**typed(stage, "openai", way=way)), stage.client(way) as http_client:
        client: Any = http_client  # the newest SDK has types of its own fork of httpx, and takes both
        sdk = openai.OpenAI(base_url=f"{stage.url(way)}/sdk-{way}", api_key="none", max_retries=3, http_client=client)
        with pytest.raises(openai.BadRequestError, match=r'"openai/gpt-5\.2" does not belong on the route') as caught:
            sdk.chat.completions.create(model=SLASH, messages=[], stream=True)
    assert str(caught.value.code) == "400"
    assert requests_under(stage, f"/sdk-{way}/") == 1


def test_the_anthropic_sdk_raises_its_bad_request_error_and_does_not_retry(stage: Stage) -> None:
    with stage.options(**typed(stage, "anthropic")):
        sdk = anthropic.Anthropic(base_url=f"{stage.url(REVERSE)}/sdk-claude", api_key="none", max_retries=3)
        with sdk, pytest.raises(anthropic.BadRequestError, match='"anthropic/claude" does not belong on the route'):
            sdk.messages.create(model="anthropic/claude", max_tokens=9, messages=[], stream=True)
    assert requests_under(stage, "/sdk-claude/") == 1
