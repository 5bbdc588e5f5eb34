"""Misuse is told at start, and while mitmproxy runs it changes nothing."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import Connection, Proxy
from harness.proxy import PATIENCE
from harness.stage import REVERSE, Stage
from harness.streams import DONE, HEARTBEAT, chat
from sseguard import endpoints

_SECONDS = "Expected a number of seconds, 0 or more, such as 30 or 1.5, got"
_ROUTE = "sse_routes: Expected a route of the form host[:port][/path-prefix]=type, got"

#: Option, bad value, and what is said to it.
MISUSE: tuple[tuple[str, Any, str], ...] = (
    ("sse_hold_seconds", "soon", f"sse_hold_seconds: {_SECONDS} 'soon'."),
    ("sse_hold_seconds", "-1", f"sse_hold_seconds: {_SECONDS} '-1'."),
    ("sse_answer_timeout", "inf", f"sse_answer_timeout: {_SECONDS} 'inf'."),
    ("sse_idle_timeout", "nan", f"sse_idle_timeout: {_SECONDS} 'nan'."),
    (
        "sse_hold_bytes",
        "1 MB",
        "sse_hold_bytes: Expected a size in bytes, 0 or more, such as 65536, 64k or 1m, got '1 MB'.",
    ),
    ("sse_truncated", "yes", "sse_truncated: Expected one of flag, error, got 'yes'."),
    ("sse_model_guard", "stop", "sse_model_guard: Expected one of block, warn, off, got 'stop'."),
    ("sse_routes", ["api.example.com"], f"{_ROUTE} 'api.example.com': there is no '='."),
    ("sse_routes", ["x.com=openai", "x.com=opnai"], f"{_ROUTE} 'x.com=opnai': 'opnai' is not a type."),
    ("sse_routes", ["x.com:99999=openai"], f"{_ROUTE} 'x.com:99999=openai': '99999' is not a port from 1 to 65535."),
    (
        "sse_paths",
        ["/good", "v1/generate"],
        f"sse_paths: Expected a pattern of the form {endpoints.FORM}, got 'v1/generate'.",
    ),
    (
        "sse_paths",
        ["/v1/x=klingon"],
        "sse_paths: Expected a dialect of chat, responses, anthropic, gemini, got 'klingon' in '/v1/x=klingon'.",
    ),
    ("sse_log", "/no/such/log", "sse_log: Expected a file in a folder that exists, got '/no/such/log'."),
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sse_hold_seconds=soon"], MISUSE[0][2]),
        (["sse_routes=api.example.com"], MISUSE[7][2]),
        (["sse_paths=v1/generate"], MISUSE[10][2]),
        (["sse_strip_comments=maybe"], "sse_strip_comments: Expected true or false, got ['maybe']."),
        (["sse_hold_bytes"], "sse_hold_bytes: Expected one value, got []."),
        (["sse_idle_timeout=1", "sse_idle_timeout=2"], "sse_idle_timeout: Expected one value, got ['1', '2']."),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_misuse_stops_the_start_with_option_value_and_form(tmp_path: Path, arguments: list[str], message: str) -> None:
    settings = tuple(part for argument in arguments for part in ("--set", argument))
    with Proxy.started(tmp_path, arguments=settings) as proxy:
        assert proxy.wait_until_ended() != 0
        assert proxy.output.count(message) == 1, proxy.output
        assert "Traceback" not in proxy.output


# While it runs


def set_options(stage: Stage, **values: Any) -> httpx.Response:
    return httpx.put(f"http://{stage.listeners['plain']}/__options__", json=values, trust_env=False)


@pytest.mark.parametrize(("option", "value", "message"), MISUSE)
def test_a_bad_value_is_refused_while_mitmproxy_runs_and_the_old_settings_stay(
    stage: Stage, option: str, value: Any, message: str
) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.answer(HEARTBEAT, chat("Hello"), DONE)

    stage.play(script)
    refusal = set_options(stage, **{option: value, "sse_strip_comments": True})
    assert refusal.status_code == 422
    assert refusal.text.startswith(message)
    # What stood beside it has not been taken over either, not even with the next good value.
    assert set_options(stage, sse_hold_bytes="2m").status_code == 204
    assert stage.ask(REVERSE).content == HEARTBEAT + chat("Hello") + DONE


def test_a_refused_value_leaves_what_was_set_before(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.answer(chat("Hello"))

    stage.play(script)
    with stage.options(sse_truncated="error"):
        assert set_options(stage, sse_truncated="flag", sse_hold_bytes="much").status_code == 422
        assert b'"reason":"truncated"' in stage.ask(REVERSE).content
    assert stage.ask(REVERSE).content == chat("Hello")


def test_a_change_counts_for_the_next_exchange_and_leaves_open_streams_alone(stage: Stage) -> None:
    changed = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        assert changed.wait(PATIENCE)
        connection.send_chunk(HEARTBEAT + chat(" world"))
        connection.end()

    stage.play(script)
    with stage.stream(REVERSE) as response:
        chunks = response.iter_raw()
        assert next(chunks) == chat("Hello")
        with stage.options(sse_truncated="error", sse_strip_comments=True, sse_idle_timeout="0.01"):
            changed.set()
            # No comment is taken out, and no end mark is missed.
            assert b"".join(chunks) == HEARTBEAT + chat(" world")
            assert stage.facts["verdict"] == "truncated"
            assert stage.ask(REVERSE).content.startswith(chat("Hello") + chat(" world") + b'data: {"error"')


def test_an_endpoint_that_is_added_is_guarded_from_then_on(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.answer(DONE)

    stage.play(script)
    assert stage.ask(REVERSE, path="/api/ask").content == DONE
    with stage.options(sse_paths=["/api/ask"]):
        assert stage.ask(REVERSE, path="/api/ask").headers["x-sseguard"] == "done_only"
    assert stage.ask(REVERSE, path="/api/ask").content == DONE


def test_a_route_that_is_odd_is_warned_about_once(stage: Stage) -> None:
    with stage.options(sse_routes=["openrouter.ai=native"]):
        stage.proxy.wait_for("Expected type openrouter in sse_routes .*'openrouter.ai=native'")
        assert set_options(stage, sse_hold_seconds="59").status_code == 204
        assert set_options(stage, sse_hold_seconds="60").status_code == 204
    assert stage.proxy.output.count("got 'openrouter.ai=native'") == 1
