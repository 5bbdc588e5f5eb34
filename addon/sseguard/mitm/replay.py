"""Replay: generation endpoints of any host are answered from recordings, through the guard, as if from upstream.

If one of these hooks should fail, mitmproxy logs it and the request goes upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from mitmproxy import connection, http

from sseguard import endpoints
from sseguard.recordings.player import Player

from .options import Options

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a request was going."""

    scheme: str
    host: str
    port: int
    host_header: str | None


class WayBack:
    """Lets a flow that was led away show where it was going, before others look at its response."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_way_back"

    def __init__(self) -> None:
        self.addresses: WeakKeyDictionary[http.HTTPFlow, _Address] = WeakKeyDictionary()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if (address := self.addresses.pop(flow, None)) is not None:
            request = flow.request
            request.scheme, request.host, request.port = address.scheme, address.host, address.port
            request.host_header = address.host_header

    def error(self, flow: http.HTTPFlow) -> None:
        self.responseheaders(flow)


class Replay:
    """Leads requests to a player on loopback."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_replay"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._player: Player | None = None
        self._changing = asyncio.Lock()
        self.way_back = WayBack()
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, updated: set[str]) -> None:
        if {"sse_replay", "sse_replay_speed", "sse_replay_match"} & updated and self._is_needed:
            self._start(self._restart())

    async def request(self, flow: http.HTTPFlow) -> None:
        settings = self._options.settings
        wanted = flow.request.method == "POST" and endpoints.find(flow.request.path, settings.endpoints)
        if settings.replay is None or not wanted or flow.response is not None:
            return
        async with self._changing:
            player = self._player
        if player is None:
            return
        request = flow.request
        self.way_back.addresses[flow] = _Address(request.scheme, request.host, request.port, request.host_header)
        request.scheme, request.host, request.port = "http", "127.0.0.1", player.port
        flow.server_conn = connection.Server(address=("127.0.0.1", player.port))

    def done(self) -> None:
        # Not a coroutine: when a script is reloaded, mitmproxy cannot wait for one, and gives the script up.
        for task in self._tasks:
            task.cancel()
        if (player := self._take_player()) is not None:
            self._start(player.close())

    @property
    def _is_needed(self) -> bool:
        return self._options.settings.replay is not None or self._player is not None

    async def _restart(self) -> None:
        async with self._changing:
            await self._stop()
            settings = self._options.settings
            if settings.replay is None:
                return
            self._player = Player(settings.replay, speed=settings.replay_speed, match=settings.replay_match)
            await self._player.start()
            logger.info("Generation endpoints are answered from %d recordings.", len(settings.replay))

    async def _stop(self) -> None:
        if (player := self._take_player()) is not None:
            await player.close()

    def _take_player(self) -> Player | None:
        player, self._player = self._player, None
        for miss in player.misses if player is not None else ():
            logger.warning("Not in the recordings: %s", miss)
        return player

    def _start(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
