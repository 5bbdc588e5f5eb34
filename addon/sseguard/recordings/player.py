"""A provider on loopback that plays recordings: their chunk boundaries, timing, headers, encoding and kind of end.

    async with Player(load_all(path), speed=0) as player:
        client = OpenAI(base_url=player.base_url, api_key="any")

Any base path does (`/v1`, `/api/v1`, none): see `matching`. `run_in_thread` is the same for code that is not async.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

from .framing import Received, json_answer, refusal
from .matching import Match, Miss, Playlist
from .playback import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from ssl import SSLContext
    from types import TracebackType

    from .recording import Recording

__all__ = ["KEPT_BYTES", "KEPT_REQUESTS", "MissError", "Player", "Received", "run_in_thread"]

#: The latest requests that are kept to look at, and the bytes of their bodies together.
KEPT_REQUESTS = 10_000
KEPT_BYTES = 64 * 1024 * 1024

#: Connections that wait to be accepted; asyncio's 100 are few when hundreds of clients start together.
_BACKLOG = 1024

#: Seconds.
_TLS_HANDSHAKE = 5.0

logger = logging.getLogger(__name__)


class MissError(Exception):
    """Raised when a strict player stops and there were requests that no recording answered."""

    def __init__(self, misses: Iterable[Miss]) -> None:
        self.misses = tuple(misses)
        super().__init__("\n".join(map(str, self.misses)))


class Player:
    """Serves `recordings` until it is closed; usable once, as an async context manager.

    Args:
        recordings: in the order in which equal requests walk through them.
        host: the address to listen on.
        port: 0 for a free one.
        speed: recorded seconds per second; 0 or None for no pacing.
        match: how unlike a recording may be and still answer.
        strict: raise `MissError` at the end if any request was not answered from a recording.
        ssl: serve HTTPS with this.
        transform: applied to each recording before it is played, each time.

    Raises:
        ValueError: for a speed below 0.
        OSError: on entering, if the address cannot be listened on.
    """

    def __init__(  # noqa: PLR0913 (options, all of them by name)
        self,
        recordings: Iterable[Recording],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float | None = 1.0,
        match: Match = Match.PATH,
        strict: bool = False,
        ssl: SSLContext | None = None,
        transform: Callable[[Recording], Recording] | None = None,
    ) -> None:
        if not 0 <= (speed or 0.0) < math.inf:
            raise ValueError(f"Expected a speed of 0 (no pacing) or more, got {speed!r}.")
        self._playlist = Playlist(recordings, match)
        self._host = host
        self._port = port
        self._speed = speed or 0.0
        self._strict = strict
        self._ssl = ssl
        self._transform = transform
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._clients: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._requests: deque[Received] = deque()
        self._kept_bytes = 0
        self._misses: deque[Miss] = deque(maxlen=KEPT_REQUESTS)
        #: Set while no client is connected; a thread may wait on it.
        self.idle = threading.Event()
        self.idle.set()

    @property
    def port(self) -> int:
        """The port that is listened on; before entering, the one that was asked for."""
        return self._port

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a slash at the end; any base path may follow."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._ssl is None else 'https'}://{host}:{self._port}"

    @property
    def requests(self) -> tuple[Received, ...]:
        """The requests that came, the latest `KEPT_REQUESTS` of them and `KEPT_BYTES` of body."""
        return tuple(self._requests)

    @property
    def misses(self) -> tuple[Miss, ...]:
        """The requests that no recording answered, the latest `KEPT_REQUESTS` of them."""
        return tuple(self._misses)

    async def start(self) -> None:
        """Listen. Raises `OSError` if the address cannot be listened on."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._answer, self._speed, self._opened, self._closed),
            self._host,
            self._port,
            backlog=_BACKLOG,
            ssl=self._ssl,
            ssl_handshake_timeout=None if self._ssl is None else _TLS_HANDSHAKE,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop all clients; does nothing the second time."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await _stop_accepting(server)
        server.close()
        for client in tuple(self._clients):
            client.abort()
        await self._all_gone.wait()
        await server.wait_closed()
        self._stopped.set()

    async def wait(self) -> None:
        """Return when the player has been closed."""
        await self._stopped.wait()

    def check(self) -> None:
        """Raise `MissError` if the player is strict and there were misses."""
        if self._strict and self._misses:
            raise MissError(self._misses)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if error is None:
            self.check()

    def _opened(self, client: Connection) -> None:
        if self._server is None:
            client.abort()
        self._clients.add(client)
        self._all_gone.clear()
        self.idle.clear()

    def _closed(self, client: Connection) -> None:
        self._clients.discard(client)
        if not self._clients:
            self._all_gone.set()
            self.idle.set()

    def _answer(self, received: Received) -> Recording:
        self._keep(received)
        found = self._playlist.find(received.method, received.path, received.json)
        if not isinstance(found, Miss):
            logger.info("Playing %s (%s).", found.recording.name or "a recording", found.likeness.name.lower())
            return self._transformed(found.recording)
        if received.method in ("GET", "HEAD") and _BROWSED.fullmatch(received.path):
            return self._models()
        self._misses.append(found)
        logger.warning("%s", found)
        return refusal(404, "not_found_error", str(found))

    def _keep(self, received: Received) -> None:
        self._requests.append(received)
        self._kept_bytes += len(received.body)
        while len(self._requests) > KEPT_REQUESTS or (self._kept_bytes > KEPT_BYTES and len(self._requests) > 1):
            self._kept_bytes -= len(self._requests.popleft().body)

    def _transformed(self, recording: Recording) -> Recording:
        if self._transform is None:
            return recording
        try:
            return self._transform(recording)
        except Exception as error:  # It is not ours, and must take down one answer, not the connection.
            logger.exception("The transform failed on %s.", recording.name or "a recording")
            return refusal(500, "server_error", f"Expected a recording from the transform, got {error!r}.")

    def _models(self) -> Recording:
        models = [{"id": model, "object": "model", "owned_by": "sseguard"} for model in self._playlist.models]
        return json_answer(200, {"object": "list", "data": models})


async def _stop_accepting(server: asyncio.Server) -> None:
    """Let the connections that asyncio has accepted come up; when its server closes first, it loses their sockets."""
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        with contextlib.suppress(NotImplementedError):  # Windows' proactor loop has no readers.
            loop.remove_reader(sock.fileno())
    for _ in range(3):  # One to make the transport, one to tell the protocol, and one in hand.
        await asyncio.sleep(0)


# What people open in a browser and what SDKs list models with.
_BROWSED = re.compile(r"(?:/|(?:/[^?#]*)?/models)(?:\?.*)?")


@contextlib.contextmanager
def run_in_thread(player: Player) -> Iterator[Player]:
    """Run a player on an event loop in a thread of its own; raises what `Player` raises on entering and leaving."""
    ready: Future[asyncio.AbstractEventLoop] = Future()
    stop = asyncio.Event()

    def work() -> None:
        with asyncio.Runner() as runner:
            ready.set_result(runner.get_loop())
            runner.run(_until(stop))

    thread = threading.Thread(target=work, name="sseguard-player", daemon=True)
    thread.start()
    loop = ready.result()
    try:
        asyncio.run_coroutine_threadsafe(player.start(), loop).result()
        yield player
    finally:
        asyncio.run_coroutine_threadsafe(player.close(), loop).result()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
    player.check()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
