"""A mitmproxy script: says where mitmproxy listens, and answers `GET /__insides__` with counts of what might stay."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import sys
import weakref
from contextlib import suppress
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream

PATH = "/__insides__"

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


async def running() -> None:
    server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    while not (addresses := server.listen_addrs()):  # noqa: ASYNC110 -- mitmproxy has no event for it
        await asyncio.sleep(0.01)
    sys.stdout.write(f"listening at {addresses[0][1]}\n")
    sys.stdout.flush()


async def request(flow: http.HTTPFlow) -> None:
    if flow.request.path == PATH:
        for _ in range(int(PATIENCE / 0.05)):
            if _streams() <= 1:  # this one
                break
            await asyncio.sleep(0.05)
        _give_back()
        insides = {"streams": _streams() - 1, "tasks": len(asyncio.all_tasks()), "blocks": sys.getallocatedblocks()}
        flow.response = http.Response.make(200, json.dumps(insides), {"content-type": "application/json"})


def _give_back() -> None:
    """Have the C library give back the memory that it only keeps for later, so that what is left is in use."""
    with suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _streams() -> int:
    gc.collect()
    return len(_alive)
