"""A mitmproxy script that tells tests what it sees: a line a flow on standard output, and its insides on request.

`GET /__probe__` through the proxy answers with counts of what might leak; `GET /__probe__?settled` waits before until
all other streams are gone, or for `PATIENCE` seconds. A line tells of response headers as they come.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import weakref
from typing import Any

from mitmproxy import http
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream

PATH = "/__probe__"

#: mitmproxy's own class, whatever stands in for it.
MITMPROXYS: Any = next(kind for kind in HttpStream.__mro__ if kind.__module__ == HttpLayer.__module__)

_alive: weakref.WeakSet[HttpStream] = weakref.WeakSet()
_make = MITMPROXYS.__init__


def _remembered(stream: HttpStream, *arguments: Any, **named: Any) -> None:
    _make(stream, *arguments, **named)
    _alive.add(stream)


# To ask the garbage collector for all objects would disturb other threads: what they are making gets a second owner.
MITMPROXYS.__init__ = _remembered

#: How long streams may take to go, in seconds. Nothing waits for it when all is well.
PATIENCE = 10.0


async def request(flow: http.HTTPFlow) -> None:
    if flow.request.path.partition("?")[0] != PATH:
        return
    if flow.request.path.endswith("?settled"):
        await _until_settled()
    flow.response = http.Response.make(200, json.dumps(_insides()), {"content-type": "application/json"})


def responseheaders(flow: http.HTTPFlow) -> None:
    sys.stdout.write(f"PROBED headers {flow.request.path}\n")
    sys.stdout.flush()


def response(flow: http.HTTPFlow) -> None:
    _tell(flow, "response")


def error(flow: http.HTTPFlow) -> None:
    _tell(flow, "error")


def _tell(flow: http.HTTPFlow, hook: str) -> None:
    if flow.request.path.partition("?")[0] == PATH:
        return
    facts = {name.removeprefix("sseguard_"): value for name, value in flow.metadata.items()}
    seen = {
        "hook": hook,
        "path": flow.request.path,
        "facts": facts,
        "comment": flow.comment,
        "marked": flow.marked,
        "status": flow.response.status_code if flow.response else None,
        "content": flow.response.raw_content.decode("latin-1") if flow.response and flow.response.raw_content else "",
        "error": flow.error.msg if flow.error else None,
        "server_connected": flow.server_conn.timestamp_start is not None,
    }
    sys.stdout.write("PROBE " + json.dumps(seen) + "\n")
    sys.stdout.flush()


async def _until_settled() -> None:
    """Only this request's own stream is left."""
    for _ in range(int(PATIENCE / 0.05)):
        if _streams() <= 1:
            break
        await asyncio.sleep(0.05)


def _streams() -> int:
    gc.collect()
    return len(_alive)


def _insides() -> dict[str, int]:
    streams = _streams()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "streams": streams,
        "tasks": len(asyncio.all_tasks()),
        "resident": resident,
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
    }
