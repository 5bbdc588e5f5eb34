"""Other addons, other scripts, mitmproxy's own options, and other copies of this addon, all on one mitmdump."""

import json
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy import version
from mitmproxy.http import HTTPFlow

from harness import Connection, Proxy, Upstream
from harness.proxy import ADDON, PATIENCE
from harness.raw import RawClient
from harness.stage import TUNER
from harness.streams import ANSWER, HEARTBEAT, chat

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # mitmproxy's own, of pyparsing
    from mitmproxy.io import FlowReader

NEIGHBOUR = Path(__file__).parent / "harness" / "neighbour.py"
REQUEST = {"model": "vendor/model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"
WHOLE = b"".join(ANSWER)


def provider(connection: Connection) -> None:
    """Answers by path, again and again."""
    while True:
        path = connection.read_request().path
        if path.startswith("/good"):
            connection.answer(*ANSWER)
        elif path.startswith("/beats"):
            connection.answer(HEARTBEAT)
        elif path.startswith("/cut"):
            connection.send_headers()
            connection.send_chunk(chat("Hello") + b'data: {"ha')
            connection.close()
            return
        elif path.startswith("/long"):
            connection.send_headers(content_length=str(len(WHOLE)))
            connection.send(WHOLE)
        elif path.startswith("/json"):
            connection.send_headers(content_type="application/json", content_length="2")
            connection.send(b"{}")
        else:
            connection.answer()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running(provider) as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def _provider(upstream: Upstream) -> None:
    upstream.script = provider


@pytest.fixture(scope="module", params=["neighbour before", "neighbour behind"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Proxy]:
    """With another script before the addon, or behind it."""
    scripts = (NEIGHBOUR, ADDON) if request.param == "neighbour before" else (ADDON, NEIGHBOUR)
    with Proxy.running(
        tmp_path_factory.mktemp("proxy"), mode=f"reverse:{upstream.url}", addon=False, scripts=(*scripts, TUNER)
    ) as proxy:
        yield proxy
        proxy.assert_unharmed()


def ask(proxy: Proxy, name: str, **headers: str) -> httpx.Response:
    fields = {header.replace("_", "-"): value for header, value in headers.items()}
    return httpx.post(f"{proxy.url}{name}{PATH}", json=REQUEST, headers=fields, timeout=PATIENCE, trust_env=False)


def get(proxy: Proxy, path: str) -> httpx.Response:
    return httpx.get(proxy.url + path, timeout=PATIENCE, trust_env=False).raise_for_status()


def flow_of(proxy: Proxy, path: str) -> dict[str, Any]:
    while (flow := proxy.flow())["path"] != path:
        pass
    return flow


@contextmanager
def options(proxy: Proxy, /, **values: Any) -> Iterator[None]:
    """Options of mitmproxy, for a while: they are empty or false otherwise."""

    def put(values: dict[str, Any]) -> None:
        httpx.put(f"{proxy.url}/__options__", json=values, trust_env=False).raise_for_status()

    put(values)
    try:
        yield
    finally:
        put({name: type(value)() if not isinstance(value, str) else None for name, value in values.items()})


def reason(response: httpx.Response) -> str:
    found: str = response.json()["error"]["metadata"]["reason"]
    return found


# Another script


def test_beside_an_idle_script_all_is_as_ever(proxy: Proxy) -> None:
    assert ask(proxy, "/good").content == WHOLE
    assert (ask(proxy, "/beats").status_code, reason(ask(proxy, "/beats"))) == (502, "heartbeats_only")


def test_a_response_hook_sees_the_refusal_and_can_mark_it(proxy: Proxy) -> None:
    response = ask(proxy, "/beats", x_mark="please")
    assert (response.status_code, response.headers["x-marked"]) == (502, "502")


def test_a_script_that_streams_the_response_itself_gets_its_way_or_ours(
    request: pytest.FixtureRequest, proxy: Proxy
) -> None:
    assert ask(proxy, "/good", x_do="stream").content == WHOLE
    response = ask(proxy, "/beats", x_do="stream")
    if "before" in request.node.name:
        assert (response.status_code, reason(response)) == (502, "heartbeats_only")
    else:
        assert (response.status_code, response.content) == (200, HEARTBEAT)
        proxy.wait_for(f"Not guarded: another addon has taken over the response to /beats{PATH}")


def test_a_script_that_changes_the_body_is_heard_whichever_comes_first(
    request: pytest.FixtureRequest, proxy: Proxy
) -> None:
    changed = WHOLE.replace(b"Hello", b"HELLO THERE") + b": the end\n\n"
    assert ask(proxy, "/good", x_do="transform").content == changed
    response = ask(proxy, "/beats", x_do="transform")
    if "before" in request.node.name:
        assert (response.status_code, reason(response)) == (502, "heartbeats_only")
        assert response.json()["error"]["metadata"]["heartbeats"] == 2
    else:
        assert (response.status_code, response.content) == (200, HEARTBEAT + b": the end\n\n")


@pytest.mark.parametrize("name", ["/good", "/beats", "/none", "/cut"])
def test_a_script_that_wants_the_body_whole_gets_it_or_the_guard_does(proxy: Proxy, name: str) -> None:
    response = ask(proxy, name, x_do="buffer")
    if name == "/good":
        assert (response.status_code, response.content) == (200, WHOLE)
    elif name == "/cut":
        assert response.status_code in {200, 502}
    else:
        assert (response.status_code, reason(response)) == (
            502,
            {"/beats": "heartbeats_only", "/none": "empty"}[name],
        )


def test_a_script_that_answers_requests_itself_is_left_alone_if_the_guard_comes_later(
    request: pytest.FixtureRequest, proxy: Proxy
) -> None:
    response = ask(proxy, "/mine", x_do="answer")
    if "before" in request.node.name:
        assert (response.status_code, response.content) == (200, b"data: mine\n\n")
        assert flow_of(proxy, f"/mine{PATH}")["facts"] == {}
    else:
        # For the guard this is what upstream says.
        assert (response.status_code, reason(response)) == (502, "malformed")


def test_a_script_that_replaces_the_response_is_left_alone(proxy: Proxy) -> None:
    response = ask(proxy, "/good", x_do="replace")
    assert response.status_code == 418
    assert ask(proxy, "/good").content == WHOLE


@pytest.mark.parametrize("when", ["kill", "kill later"])
def test_a_flow_that_is_killed_is_gone_and_harms_nothing(proxy: Proxy, when: str) -> None:
    with RawClient.connected(proxy.port) as client, pytest.raises((EOFError, ConnectionError)):
        client.ask("/beats/killed" + PATH, REQUEST, x_do=when)
    assert ask(proxy, "/good").content == WHOLE


# Options


def test_an_intercepted_refusal_goes_out_when_it_is_resumed(proxy: Proxy) -> None:
    answers = []
    with options(proxy, intercept="~s & ~u /beats/held"):
        client = threading.Thread(target=lambda: answers.append(ask(proxy, "/beats/held")))
        client.start()
        proxy.wait_for("INTERCEPTED /beats/held")
        get(proxy, "/__resume__")
        client.join()
    assert [reason(answer) for answer in answers] == ["heartbeats_only"]


@pytest.mark.parametrize(("name", "status"), [("/good", 200), ("/beats", 502)])
def test_an_intercepted_request_is_guarded_when_it_is_resumed(proxy: Proxy, name: str, status: int) -> None:
    answers = []
    with options(proxy, intercept=f"~q & ~u {name}/asked"):
        client = threading.Thread(target=lambda: answers.append(ask(proxy, f"{name}/asked")))
        client.start()
        proxy.wait_for(f"INTERCEPTED {name}/asked")
        get(proxy, "/__resume__")
        client.join()
    assert [answer.status_code for answer in answers] == [status]


def test_an_intercepted_answer_streams_and_ends_when_it_is_resumed(proxy: Proxy) -> None:
    with (
        options(proxy, intercept="~s & ~u /good/held"),
        httpx.stream("POST", f"{proxy.url}/good/held{PATH}", json=REQUEST, trust_env=False) as response,
    ):
        chunks, got = response.iter_raw(), b""
        while len(got) < len(WHOLE):
            got += next(chunks)
        get(proxy, "/__resume__")
        assert got + b"".join(chunks) == WHOLE


def test_headers_can_be_modified_and_addresses_mapped(proxy: Proxy, upstream: Upstream) -> None:
    with options(
        proxy,
        modify_headers=["|~s|x-more|yes"],
        map_remote=["|/mapped/[a-z]*/|/beats/", f"|{upstream.port}/was-good|{upstream.port}/good"],
    ):
        refusal = ask(proxy, "/mapped/x")
        assert (refusal.status_code, refusal.headers["x-sseguard"]) == (502, "heartbeats_only")
        answer = ask(proxy, "/was-good")
        assert (answer.content, answer.headers["x-more"]) == (WHOLE, "yes")


@pytest.mark.parametrize("limit", ["stream_large_bodies", "body_size_limit"])
def test_limits_on_bodies_that_are_not_reached_change_nothing(proxy: Proxy, limit: str) -> None:
    with options(proxy, **{limit: "1m"}):
        assert ask(proxy, "/good").content == WHOLE
        assert ask(proxy, "/long").content == WHOLE
        assert ask(proxy, "/beats").status_code == 502


def test_large_bodies_that_are_to_be_streamed_are_guarded(proxy: Proxy) -> None:
    with options(proxy, stream_large_bodies="60"):
        assert ask(proxy, "/good").content == WHOLE
        assert ask(proxy, "/long").content == WHOLE
        assert reason(ask(proxy, "/beats")) == "heartbeats_only"


def test_a_response_that_is_announced_as_too_large_is_mitmproxys_to_refuse(proxy: Proxy) -> None:
    with options(proxy, body_size_limit="100"):
        response = ask(proxy, "/long")
    assert response.status_code == 502
    assert "body_size_limit" in response.text


if int(version.VERSION.split(".")[0]) >= 12:  # before, there was no such option

    def test_streamed_bodies_that_are_to_be_stored_hold_what_the_client_got(proxy: Proxy) -> None:
        with options(proxy, store_streamed_bodies=True):
            assert ask(proxy, "/good/stored").content == WHOLE
            assert flow_of(proxy, f"/good/stored{PATH}")["content"].encode() == WHOLE
            cut = ask(proxy, "/cut/stored")
            assert flow_of(proxy, f"/cut/stored{PATH}")["content"].encode() == cut.content
            refusal = ask(proxy, "/beats/stored")
            assert flow_of(proxy, f"/beats/stored{PATH}")["content"].encode() == refusal.content


def test_flows_that_are_saved_can_be_read_again_with_what_is_known_of_them(proxy: Proxy, tmp_path: Path) -> None:
    file = tmp_path / "flows"
    with options(proxy, save_stream_file=str(file)):
        ask(proxy, "/good")
        ask(proxy, "/beats")
        ask(proxy, "/cut")
    with file.open("rb") as stream:
        flows = [flow for flow in FlowReader(stream).stream() if isinstance(flow, HTTPFlow)]
    flows = [flow for flow in flows if flow.request.path.endswith(PATH)]
    assert [flow.metadata["sseguard_verdict"] for flow in flows] == ["answered", "heartbeats_only", "cut_late"]
    assert [flow.response and flow.response.status_code for flow in flows] == [200, 502, 200]
    for flow in flows:
        assert all(isinstance(value, str | int | float | None) for value in flow.metadata.values())
        assert json.loads(json.dumps(flow.metadata)) == flow.metadata
        assert flow.comment.startswith(f"sseguard: {flow.metadata['sseguard_verdict']}")


def test_a_replayed_request_is_guarded_anew(proxy: Proxy, upstream: Upstream) -> None:
    path = f"/beats/again{PATH}"
    assert ask(proxy, "/beats/again", x_replay="me").status_code == 502
    assert flow_of(proxy, path)["facts"]["verdict"] == "heartbeats_only"

    def healed(connection: Connection) -> None:
        connection.read_request()
        connection.answer(*ANSWER)

    upstream.script = healed
    get(proxy, "/__replay__")
    flow = flow_of(proxy, path)
    assert (flow["facts"]["verdict"], flow["status"]) == ("answered", 200)
    assert (flow["comment"], flow["marked"]) == ("sseguard: answered", "")


def test_a_replayed_request_that_gets_no_stream_keeps_nothing_of_the_one_before(
    proxy: Proxy, upstream: Upstream
) -> None:
    path = f"/beats/json{PATH}"
    assert ask(proxy, "/beats/json", x_replay="me").status_code == 502
    assert flow_of(proxy, path)["facts"]["verdict"] == "heartbeats_only"

    def as_json(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(content_type="application/json", content_length="2")
        connection.send(b"{}")

    upstream.script = as_json
    get(proxy, "/__replay__")
    assert flow_of(proxy, path)["facts"] == {}


# Other copies


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The addon's file, in a copy of its folder."""
    folder = shutil.copytree(ADDON.parent, tmp_path / "addon", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(folder) / "main.py"


def test_a_script_that_is_reloaded_lets_open_streams_finish_and_guards_the_next(
    tmp_path: Path, upstream: Upstream, copy: Path
) -> None:
    reloaded = threading.Event()

    def script(connection: Connection) -> None:
        if connection.read_request().path.startswith("/other"):
            connection.answer(HEARTBEAT)
            return
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        assert reloaded.wait(PATIENCE)
        connection.send_chunk(chat(" world"))
        connection.reset()

    upstream.script = script
    with Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", addon=False, scripts=(copy,)) as proxy:
        with httpx.stream("POST", proxy.url + PATH, json=REQUEST, trust_env=False, timeout=PATIENCE) as response:
            chunks = response.iter_raw()
            assert next(chunks) == chat("Hello")
            os.utime(copy)
            proxy.wait_for("Loading script .*main.py", times=2)
            # What is loaded is in place once a request is judged by it.
            assert ask(proxy, "/other").headers["x-sseguard"] == "heartbeats_only"
            reloaded.set()
            rest = b"".join(chunks)
        assert rest.startswith(chat(" world") + b'data: {"error":')
        for _ in range(2):
            assert ask(proxy, "/other").headers["x-sseguard"] == "heartbeats_only"
        assert json.loads(get(proxy, "/__probe__?settled").text)["streams"] == 1
        proxy.assert_unharmed()


def test_a_second_copy_of_the_addon_is_refused_at_start_by_name(tmp_path: Path, copy: Path) -> None:
    with Proxy.started(tmp_path, scripts=(copy,)) as proxy:
        assert proxy.wait_until_ended() != 0
        assert "An addon called 'sseguard_options' already exists." in proxy.output


def test_scripts_with_common_names_can_stand_beside_the_addon(tmp_path: Path, upstream: Upstream) -> None:
    script = tmp_path / "common.py"
    names = ("Options", "Guard", "Recorder", "Replay", "Reporter")
    script.write_text("\n".join(f"class {name}: pass" for name in names) + f"\naddons = [{'(), '.join(names)}()]\n")
    with Proxy.running(tmp_path, mode=f"reverse:{upstream.url}", scripts=(script,)) as proxy:
        assert reason(ask(proxy, "/beats")) == "heartbeats_only"
        proxy.assert_unharmed()


# The end


def test_a_proxy_that_is_stopped_during_a_hold_stops_at_once_and_in_order(tmp_path: Path, upstream: Upstream) -> None:
    left = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(HEARTBEAT)
        connection.wait_until_left()
        left.set()

    upstream.script = script
    with (
        Proxy.running(tmp_path, mode=f"reverse:{upstream.url}") as proxy,
        RawClient.connected(proxy.port) as client,
    ):
        client.post(PATH, REQUEST)
        proxy.wait_for("PROBED headers")
        assert proxy.stop() == 0
        assert left.wait(PATIENCE)
        with pytest.raises((EOFError, ConnectionError)):
            client.read_reply()
    # Python 3.11 has a word of its own about what mitmproxy cancels.
    for sign in ("has crashed", "Addon error", str(ADDON.parent / "sseguard")):
        assert sign not in proxy.output
