"""All ways through one mitmdump: a listener for each way in, an upstream for each way out."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from sseguard.mitm.options import OPTIONS

from .apis import CHAT, Api
from .http2 import Http2Connection
from .proxy import PATIENCE, Proxy
from .tls import Certificate
from .upstream import Connection, Script, Upstream

TUNER = Path(__file__).parent / "tuner.py"

Out = Literal["plain", "tls", "h2", "refused", "untrusted"]


@dataclass(frozen=True)
class Way:
    """How a request goes: into which listener, in which version of HTTP, over TLS or not, and to which upstream."""

    mode: Literal["reverse", "regular"]
    out: Out
    tls: bool = False
    http2: bool = False

    def __str__(self) -> str:
        client = ("h2" if self.http2 else "https") if self.tls else "http"
        return f"{client}-{self.mode}-{self.out}"

    def to(self, out: Out) -> Way:
        """The same way in, to another upstream."""
        return Way(self.mode, out, self.tls, self.http2)


#: The plainest way: no TLS, HTTP/1.1.
REVERSE = Way("reverse", "plain")
#: In front of a real provider, with no certificate to install.
REVERSE_TO_TLS = Way("reverse", "tls")
REVERSE_H2 = Way("reverse", "h2", tls=True, http2=True)
REGULAR = Way("regular", "tls", tls=True)
REGULAR_H2_TO_H1 = Way("regular", "tls", tls=True, http2=True)
REGULAR_H2 = Way("regular", "h2", tls=True, http2=True)

WAYS = (REVERSE, REVERSE_TO_TLS, REVERSE_H2, REGULAR, REGULAR_H2_TO_H1, REGULAR_H2)
#: One for each pair of HTTP versions.
VERSIONS = (REVERSE, REGULAR_H2_TO_H1, REGULAR_H2)
#: Those whose upstream speaks HTTP/2.
TO_H2 = (REVERSE_H2, REGULAR_H2)
TO_H1 = tuple(way for way in WAYS if way not in TO_H2)


def _silent(connection: Connection) -> None:
    connection.wait_until_left()


@dataclass
class Stage:
    """A mitmdump with its upstreams, and clients for it. Tests say what the upstreams do by `play`.

    Attributes:
        proxy: in regular mode, and in reverse mode before each upstream.
        upstreams: what there is to talk to.
        urls: where each of them is, the one that refuses connections too.
        listeners: where the proxy stands in for each of them.
        trust, trust_http2: for clients that are to trust the proxy, by whether they are to speak HTTP/2.
    """

    proxy: Proxy
    upstreams: dict[Out, Upstream]
    urls: dict[Out, str]
    listeners: dict[Out, str]
    trust: ssl.SSLContext
    trust_http2: ssl.SSLContext
    _path: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def set_up(cls, folder: Path, **options: str) -> Iterator[Stage]:
        """All of it, running; what it writes goes to `folder`."""
        with ExitStack() as stack:
            upstreams, authority = _upstreams(stack, folder)
            urls = {out: upstream.url for out, upstream in upstreams.items()}
            urls["refused"] = f"http://127.0.0.1:{_refusing_port(stack)}"
            options = {"ssl_verify_upstream_trusted_ca": str(authority), **options}
            modes = [f"reverse:{url}@127.0.0.{number}:0" for number, url in enumerate(urls.values(), 2)]
            arguments = tuple(f"--mode={mode}" for mode in modes)
            proxy = stack.enter_context(Proxy.started(folder, scripts=(TUNER,), options=options, arguments=arguments))
            proxy.port = int(proxy.wait_for(r"HTTP\(S\) proxy listening at .*:(\d+)\.")[1])
            listeners = {out: proxy.wait_for(rf"proxy to {url}/? listening at (.*)\.$")[1] for out, url in urls.items()}
            yield cls(
                proxy, upstreams, urls, listeners, ssl.create_default_context(cafile=proxy.ca), http2_only(proxy.ca)
            )

    def play(self, script: Script) -> None:
        """Have every upstream run `script` for each connection to come."""
        for upstream in self.upstreams.values():
            upstream.script = script

    @contextmanager
    def speaking(self, protocol: type[Connection]) -> Iterator[None]:
        """Have the upstreams that speak HTTP/1.1 speak it in another way, for a while."""
        speakers = [upstream for upstream in self.upstreams.values() if upstream.protocol is Connection]
        for upstream in speakers:
            upstream.protocol = protocol
        try:
            yield
        finally:
            for upstream in speakers:
                upstream.protocol = Connection

    def url(self, way: Way) -> str:
        """What a client asks that goes this way."""
        scheme = "https" if way.tls else "http"
        place = self.listeners[way.out] if way.mode == "reverse" else self.urls[way.out].partition("://")[2]
        return f"{scheme}://{place}"

    def client(self, way: Way) -> httpx.Client:
        """A client that goes this way, and no other."""
        proxy = self.proxy.url if way.mode == "regular" else None
        return httpx.Client(
            base_url=self.url(way),
            proxy=proxy,
            verify=self.trust_http2 if way.http2 else self.trust,
            http1=not way.http2,
            http2=way.http2,
            timeout=PATIENCE,
            trust_env=False,
        )

    @contextmanager
    def stream(self, way: Way, api: Api = CHAT, **request: Any) -> Iterator[httpx.Response]:
        """Ask for a stream and read no body yet. `request` is for `httpx.Client.stream`."""
        self._path = f"/{next(self._numbers)}{request.pop('path', api.path)}"
        if not request.keys() & {"json", "content"}:
            request["json"] = api.request
        method = request.pop("method", "POST")
        with self.client(way) as client, client.stream(method, self._path, **request) as response:
            assert (response.http_version == "HTTP/2") is way.http2
            yield response

    def ask(self, way: Way, api: Api = CHAT, **request: Any) -> httpx.Response:
        """Ask for a stream, and read all of it."""
        with self.stream(way, api, **request) as response:
            response.read()
        return response

    def flow(self) -> dict[str, Any]:
        """What the probe saw of the flow that was asked for last."""
        while (flow := self.proxy.flow())["path"] != self._path:
            pass
        return flow

    @property
    def facts(self) -> dict[str, Any]:
        """What sseguard says of the flow that was asked for last."""
        facts: dict[str, Any] = self.flow()["facts"]
        return facts

    @contextmanager
    def options(self, **values: Any) -> Iterator[None]:
        """Other options, for a while."""
        defaults = {name: default for name, _, default, _ in OPTIONS}
        self._set(values)
        try:
            yield
        finally:
            self._set({name: defaults[name] for name in values})

    def _set(self, values: dict[str, Any]) -> None:
        with httpx.Client(trust_env=False, verify=self.trust) as client:
            client.put(f"http://{self.listeners['plain']}/__options__", json=values).raise_for_status()

    def assert_unharmed(self) -> None:
        """Nothing has crashed, on either side."""
        self.proxy.assert_unharmed()
        for upstream in self.upstreams.values():
            if not upstream.errors.empty():
                raise upstream.errors.get()


class _Http2Only(ssl.SSLContext):
    """httpx offers HTTP/1.1 first, and mitmproxy takes what is offered first."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols([name for name in alpn_protocols if name == "h2"])


def http2_only(file: str) -> ssl.SSLContext:
    """For clients of httpx that are to trust what is in `file`, and to speak HTTP/2."""
    context = _Http2Only(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    return context


def _upstreams(stack: ExitStack, folder: Path) -> tuple[dict[Out, Upstream], Path]:
    """All upstreams, and the file with what is to be trusted: the certificate of all but one."""
    certificate, stranger = (Certificate.made(folder, name) for name in ("upstream", "stranger"))

    def running(*protocol: str, of: Certificate = certificate, **more: Any) -> Upstream:
        tls = of.server(*protocol) if protocol else None
        return stack.enter_context(Upstream.running(_silent, tls=tls, **more))

    upstreams: dict[Out, Upstream] = {
        "plain": running(),
        "tls": running("http/1.1"),
        "h2": running("h2", protocol=Http2Connection),
        "untrusted": running("http/1.1", of=stranger),
    }
    return upstreams, certificate.file


def _refusing_port(stack: ExitStack) -> int:
    """A port that is taken and not listened to: who connects is refused."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    port: int = taken.getsockname()[1]
    return port
