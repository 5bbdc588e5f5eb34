"""A mitmproxy script that tells tests what it sees: a line a flow on standard output, and its insides on request.

`GET /__probe__` through the proxy answers with counts of what might leak.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys

from mitmproxy import http
from mitmproxy.proxy.layers.http import HttpStream

PATH = "/__probe__"


def request(flow: http.HTTPFlow) -> None:
    if flow.request.path == PATH:
        flow.response = http.Response.make(200, json.dumps(_insides()), {"content-type": "application/json"})


def response(flow: http.HTTPFlow) -> None:
    _tell(flow, "response")


def error(flow: http.HTTPFlow) -> None:
    _tell(flow, "error")


def _tell(flow: http.HTTPFlow, hook: str) -> None:
    if flow.request.path == PATH:
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


def _insides() -> dict[str, int]:
    gc.collect()
    streams = sum(isinstance(thing, HttpStream) for thing in gc.get_objects())
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "streams": streams,
        "tasks": len(asyncio.all_tasks()),
        "resident": resident,
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
    }
