"""Hundreds of exchanges at once through one mitmdump, each with an upstream that stops at a byte."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from .apis import Api
from .asking import Asker, Got, Turns, ask_http2
from .breaking import LONG, Breaker, Play
from .proxy import PATIENCE, Proxy
from .raw import post
from .stage import TUNER, http2_only
from .tls import Certificate
from .waiting import until

T = TypeVar("T")

#: Asks for a path, with a request.
Send = Callable[[str, Any], Coroutine[Any, Any, Got]]

Out = Literal["plain", "tls", "h2"]

#: How many clients ask at once.
CLIENTS = 24

#: How many exchanges share an HTTP/2 connection in silence; there may be 100.
STREAMS = 90

#: How long upstreams may be silent, in seconds: far longer than it takes to get to the silence.
SILENCE = "2"


@dataclass(frozen=True)
class Ask:
    """One request, and what its upstream does."""

    api: Api
    play: Play


@dataclass
class Many:
    """The proxy, its upstreams, and the clients. `outcomes` and the others run in the event loop of `runner`."""

    proxy: Proxy
    breaker: Breaker
    runner: asyncio.Runner
    addresses: dict[Out, tuple[str, int]]
    #: For clients that speak HTTP/1.1 over TLS, and would let upstream speak HTTP/2; and for those that speak it.
    trust: ssl.SSLContext
    trust_http2: ssl.SSLContext
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def set_up(cls, folder: Path) -> Iterator[Many]:
        """All of it, running."""
        certificate = Certificate.made(folder, "upstream")
        with asyncio.Runner() as runner:
            breaker = Breaker()
            ports = runner.run(_serve(breaker, certificate))
            urls = {out: f"{'http' if out == 'plain' else 'https'}://127.0.0.1:{port}" for out, port in ports.items()}
            arguments = tuple(f"--mode=reverse:{url}@127.0.0.{n}:0" for n, url in enumerate(urls.values(), 2))
            options = {"ssl_verify_upstream_trusted_ca": str(certificate.file), "flow_detail": "0"}
            with Proxy.started(folder, mode=None, scripts=(TUNER,), options=options, arguments=arguments) as proxy:
                found = {
                    out: proxy.wait_for(rf"proxy to {url}/? listening at (.*):(\d+)\.$") for out, url in urls.items()
                }
                addresses = {out: (match[1], int(match[2])) for out, match in found.items()}
                trust = ssl.create_default_context(cafile=proxy.ca)
                trust.check_hostname = False
                trust.set_alpn_protocols(["http/1.1", "h2"])
                many = cls(proxy, breaker, runner, addresses, trust, http2_only(proxy.ca))
                # What is wrong is still told. A line for each connection and exchange costs as much as they do.
                many._set({"termlog_verbosity": "warn"})
                yield many
            for server in breaker.servers:
                server.close()

    def outcomes(self, out: Out, asks: Iterable[Ask], *, http2: bool = False) -> list[tuple[Got, str]]:
        """What the client gets of each, and the verdict in its flow."""
        return self._ran(self._outcomes(out, list(asks), http2=http2))

    def silences(self, out: Out, asks: Iterable[Ask], *, http2: bool = False) -> list[tuple[Got, str]]:
        """As `outcomes`, of upstreams that fall silent all at once."""
        with self._options(sse_answer_timeout=SILENCE, sse_idle_timeout=SILENCE):
            return self._ran(self._silences(out, list(asks), http2=http2))

    def leavings(self, out: Out, asks: Iterable[Ask]) -> list[str]:
        """The verdicts when the client leaves as soon as the upstream has fallen silent."""
        return self._ran(self._leavings(out, list(asks)))

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Nothing has crashed in the meantime, and nothing is left."""
        before = self._insides()
        yield
        self.proxy.assert_unharmed()
        if self.breaker.errors:
            raise self.breaker.errors.pop()
        until(lambda: all(count <= before[what] for what, count in self._insides().items()))

    def _insides(self) -> dict[str, int]:
        host, port = self.addresses["plain"]
        found = httpx.get(f"http://{host}:{port}/__probe__?settled", timeout=PATIENCE, trust_env=False).json()
        return {what: found[what] for what in ("streams", "tasks", "files")}

    @contextmanager
    def _options(self, **values: str) -> Iterator[None]:
        self._set(values)
        try:
            yield
        finally:
            self._set(dict.fromkeys(values, "0"))

    def _set(self, values: dict[str, str]) -> None:
        host, port = self.addresses["plain"]
        httpx.put(f"http://{host}:{port}/__options__", json=values, trust_env=False).raise_for_status()

    def _ran(self, work: Coroutine[Any, Any, T]) -> T:
        async def run() -> T:
            async with asyncio.timeout(LONG), Asker.ready(self.addresses["plain"]) as asker:
                self.breaker.turn = Turns(asker).turn
                return await work

        return self.runner.run(run())

    def _numbered(self, asks: list[Ask]) -> dict[int, Ask]:
        numbered = {next(self._numbers): ask for ask in asks}
        self.breaker.plays |= {number: ask.play for number, ask in numbered.items()}
        self.breaker.delivered |= {number: asyncio.Event() for number in numbered}
        return numbered

    async def _outcomes(self, out: Out, asks: list[Ask], *, http2: bool) -> list[tuple[Got, str]]:
        numbered = self._numbered(asks)
        left = iter(numbered.items())
        got: dict[int, Got] = {}

        async def client() -> None:
            async with self._asker(out, http2=http2) as ask:
                for number, asked in left:
                    got[number] = await ask(_path(number, asked), asked.api.request)

        await _together(client)
        verdicts = await self._verdicts(numbered)
        return [(got[number], verdicts[number]) for number in numbered]

    async def _silences(self, out: Out, asks: list[Ask], *, http2: bool) -> list[tuple[Got, str]]:
        numbered = self._numbered(asks)
        few = asyncio.Semaphore(CLIENTS)

        async def client(number: int, asked: Ask, ask: Send) -> Got:
            async with few:
                asking = asyncio.create_task(ask(_path(number, asked), asked.api.request))
                await self.breaker.delivered[number].wait()
            return await asking

        # An HTTP/1.1 connection has one exchange at a time.
        per_connection = STREAMS if http2 else 1
        async with AsyncExitStack() as stack:
            askers = [
                await stack.enter_async_context(self._asker(out, http2=http2))
                for _ in range(0, len(numbered), per_connection)
            ]
            got = await asyncio.gather(
                *(
                    client(number, asked, askers[index // per_connection])
                    for index, (number, asked) in enumerate(numbered.items())
                )
            )
        verdicts = await self._verdicts(numbered)
        await self._all_left(numbered)
        return [(response, verdicts[number]) for response, number in zip(got, numbered, strict=True)]

    async def _leavings(self, out: Out, asks: list[Ask]) -> list[str]:
        numbered = self._numbered(asks)
        left = iter(numbered.items())

        async def client() -> None:
            for number, asked in left:
                async with Asker.ready(self.addresses[out], self._tls(out)) as asker:
                    await asker.send(post(_path(number, asked), asked.api.request))
                    await self.breaker.delivered[number].wait()

        await _together(client)
        verdicts = await self._verdicts(numbered)
        await self._all_left(numbered)
        return [verdicts[number] for number in numbered]

    async def _all_left(self, numbered: dict[int, Ask]) -> None:
        """The proxy has left every silent upstream."""
        async with self.breaker.changed:
            await self.breaker.changed.wait_for(lambda: self.breaker.left >= numbered.keys())

    async def _verdicts(self, numbered: dict[int, Ask]) -> dict[int, str]:
        """Of the flows, all of which end."""
        paths = {_path(number, ask): number for number, ask in numbered.items()}
        verdicts: dict[int, str] = {}
        while len(verdicts) < len(numbered):
            flow = await asyncio.to_thread(self.proxy.flow)
            if flow["path"] in paths:
                assert verdicts.setdefault(paths[flow["path"]], flow["facts"]["verdict"]) == flow["facts"]["verdict"]
        return verdicts

    def _tls(self, out: Out) -> ssl.SSLContext | None:
        return self.trust if out == "h2" else None

    @asynccontextmanager
    async def _asker(self, out: Out, *, http2: bool) -> AsyncIterator[Send]:
        async with AsyncExitStack() as stack:
            if not http2:
                yield (await stack.enter_async_context(Asker.ready(self.addresses[out], self._tls(out)))).ask
                return
            host, port = self.addresses[out]
            client = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"https://{host}:{port}",
                    verify=self.trust_http2,
                    http1=False,
                    http2=True,
                    limits=httpx.Limits(max_connections=1),
                    timeout=PATIENCE,
                    trust_env=False,
                )
            )
            yield lambda path, value: ask_http2(client, path, value)


async def _together(client: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """All clients at once, until each is done."""
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())


async def _serve(breaker: Breaker, certificate: Certificate) -> dict[Out, int]:
    """The upstreams, for as long as their event loop is there."""
    servers: dict[Out, asyncio.Server] = {
        "plain": await asyncio.start_server(breaker.talk, "127.0.0.1", 0),
        "tls": await asyncio.start_server(breaker.talk, "127.0.0.1", 0, ssl=certificate.server("http/1.1")),
        "h2": await asyncio.start_server(breaker.talk_http2, "127.0.0.1", 0, ssl=certificate.server("h2")),
    }
    breaker.servers = list(servers.values())
    return {out: server.sockets[0].getsockname()[1] for out, server in servers.items()}


def _path(number: int, ask: Ask) -> str:
    return f"/{number}{ask.api.path}"
