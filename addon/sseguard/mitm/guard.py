"""The guard: which exchanges are watched over, and what becomes of them.

If one of these hooks should fail, mitmproxy logs it and the traffic passes: a guard that is broken does not block.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mitmproxy import connection, ctx, http, version
from mitmproxy.addonmanager import Loader

from sseguard import codings, endpoints, errors, routing
from sseguard.dialects import Dialect
from sseguard.endpoints import Endpoint
from sseguard.gate import Call, Gate, Limits, State
from sseguard.routing.routes import printable
from sseguard.verdicts import Verdict

from . import facts
from .exchange import Exchange, error_response
from .options import ModelGuard, Options

if TYPE_CHECKING:
    from .layers import Tape  # not at run time: importing it fails where mitmproxy's inside is another

logger = logging.getLogger(__name__)

#: How many turns of the event loop a wake-up and what waits behind it may take.
TURNS = 10

#: How much of a request's body is read for its model, in bytes.
MAX_BODY = 64 << 20


class Guard:
    """Holds, releases and refuses the streams of generation endpoints, and blocks misrouted models."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_guard"

    def __init__(self, options: Options, listen: Callable[[http.HTTPFlow], Tape | None] = lambda _: None) -> None:
        """`listen` gives the tape for what upstream answers to a flow, or None."""
        self._options = options
        self._listen = listen
        self._exchanges: WeakKeyDictionary[http.HTTPFlow, Exchange] = WeakKeyDictionary()
        self._undo: Callable[[], None] | None = None

    # Life

    def load(self, _loader: Loader) -> None:
        # An upstream that refuses the connection is to be told as an error, and a blocked request is not to open one:
        # for both, the connection must wait for the request.
        if ctx.options.connection_strategy == "eager":
            ctx.options.connection_strategy = "lazy"
        self._undo = _hold_headers(self._exchanges.get, self._listen)

    def done(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    async def client_disconnected(self, _client: connection.Client) -> None:
        # mitmproxy 12 cancels the tasks of a client's upstream connections right behind this hook. One that is then
        # waiting for its turn behind a wake-up of ours is cancelled for the second time, and never closes its socket.
        with contextlib.suppress(asyncio.CancelledError):  # mitmproxy stops; what it does next here takes no time
            for _ in range(TURNS):
                await asyncio.sleep(0)

    # Exchanges

    def request(self, flow: http.HTTPFlow) -> None:
        facts.forget(flow)
        if flow.response is not None or flow.error is not None or (endpoint := self._endpoint(flow)) is None:
            return
        asked = _asked(flow.request)
        blocked = self._judge(flow, asked)
        if blocked:
            _block(flow, endpoint.dialect, asked, blocked)
        else:
            self._begin(flow, endpoint.dialect, asked)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response, exchange = flow.response, self._exchanges.get(flow)
        if response is None or not _is_event_stream(response):
            self._exchanges.pop(flow, None)
            return
        if exchange is None and flow.request.stream and (endpoint := self._endpoint(flow)) is not None:
            # An answer to a request that is still being sent.
            exchange = self._begin(flow, endpoint.dialect, routing.Asked(stream=True))
        decoder = _decoder_of(response) if exchange is not None else None
        if exchange is not None and decoder is not None:
            exchange.open(response, decoder, held=self._undo is not None)
            return
        self._exchanges.pop(flow, None)
        # Not ours to judge, but an event stream that is kept until its end is none.
        response.stream = response.stream or True

    def response(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.pop(flow, None)
        if exchange is None or flow.response is None:
            return
        if exchange.gate.state is not State.OVER:
            if flow.response.stream not in (exchange, False):
                path = printable(flow.request.path)
                logger.warning("Not guarded: another addon has taken over the response to %s.", path)
                return
            exchange.settle(flow.response.raw_content or b"")
        facts.put(flow, exchange.gate)

    def error(self, flow: http.HTTPFlow) -> None:
        if (exchange := self._exchanges.pop(flow, None)) is not None:
            if self._undo is None and flow.client_conn.connected and flow.error is not None:
                exchange.cut(flow.error.msg)
            exchange.left()
            facts.put(flow, exchange.gate)

    def _endpoint(self, flow: http.HTTPFlow) -> Endpoint | None:
        if flow.request.method != "POST":
            return None
        return endpoints.find(flow.request.path, self._options.settings.endpoints)

    def _begin(self, flow: http.HTTPFlow, dialect: Dialect, asked: routing.Asked) -> Exchange:
        call = Call(
            dialect,
            model=asked.models[0] if asked.models else "",
            host=flow.request.pretty_host,
            streaming=bool(asked.stream) or dialect is Dialect.GEMINI,
            choices=max(asked.n or 1, 1) if dialect is Dialect.CHAT else 1,
        )
        exchange = self._exchanges[flow] = Exchange(flow, Gate(call, self._options.settings.limits, time.monotonic()))
        return exchange

    def _judge(self, flow: http.HTTPFlow, asked: routing.Asked) -> list[routing.Finding]:
        """What to block the request for. Warnings go to the log."""
        if self._options.settings.model_guard is ModelGuard.OFF:
            return []
        findings = routing.judge(self._route(flow.request), asked.models)
        blocking = self._options.settings.model_guard is ModelGuard.BLOCK
        for finding in findings:
            if not (blocking and finding.severity is routing.Severity.BLOCK):
                logger.warning("%s", routing.describe(finding))
        return [finding for finding in findings if blocking and finding.severity is routing.Severity.BLOCK]

    def _route(self, request: http.Request) -> routing.Route:
        route = self._options.settings.routes.find(request.host, request.port, request.path)
        if route.type is routing.RouteType.GATEWAY and request.pretty_host != request.host:
            # In transparent mode the host is an address, and the name stands in the Host header.
            return self._options.settings.routes.find(request.pretty_host, request.port, request.path)
        return route


def _hold_headers(
    lookup: Callable[[http.HTTPFlow], Exchange | None], listen: Callable[[http.HTTPFlow], Tape | None]
) -> Callable[[], None] | None:
    """Make mitmproxy hold headers back; None if this mitmproxy cannot be made to."""
    try:
        from . import layers  # noqa: PLC0415 -- the import itself fails where mitmproxy's inside is another

        return layers.install(lookup, listen, lambda response: isinstance(response.stream, Exchange))
    except (ImportError, AttributeError) as e:
        logger.warning(
            "This mitmproxy (%s) is not one that sseguard can hold response headers in: %s "
            "Streams are still watched, but a failure is told inside the stream, with status 200. "
            "Use mitmproxy 11.0 to 12.x for real statuses.",
            version.VERSION,
            e,
        )
        return None


def _asked(request: http.Request) -> routing.Asked:
    """What the request asks for, as far as its body can be read in reasonable time."""
    try:
        body = codings.decode(request.headers.get("content-encoding", ""), request.raw_content or b"", MAX_BODY)
    except (LookupError, codings.CodingError) as e:
        host = printable(request.pretty_host)
        logger.info("Model not judged: the body of a request to %s cannot be read: %s", host, e)
        body = b""
    asked = routing.models_in(body, request.path)
    if not body and "text/event-stream" in request.headers.get("accept", ""):
        return replace(asked, stream=True)
    return asked


def _block(flow: http.HTTPFlow, dialect: Dialect, asked: routing.Asked, findings: list[routing.Finding]) -> None:
    message = routing.message_for(findings, asked.duplicates)
    details = {"findings": [_details(finding) for finding in findings]}
    failure = errors.Failure(Verdict.MISROUTED, 400, message, details=details)
    call = Call(dialect, model=findings[0].model, host=flow.request.pretty_host)
    gate = Gate(call, Limits(), time.monotonic())
    gate.block(failure)
    body = errors.body(dialect, failure, gate.evidence(time.monotonic()))
    flow.response = error_response(failure, body)
    flow.response.headers["x-should-retry"] = "false"
    facts.put(flow, gate)


def _details(finding: routing.Finding) -> dict[str, str | None]:
    return {
        "model": finding.model,
        "route": str(finding.route),
        "becomes": finding.becomes,
        "did_you_mean": finding.belongs,
    }


def _is_event_stream(response: http.Response) -> bool:
    """Whether a response says that it is an event stream, in any case and with any parameters, even broken ones."""
    kind = response.headers.get("content-type", "")
    return re.split(r"[;,\s]", kind.strip(), maxsplit=1)[0].lower() == "text/event-stream"


def _decoder_of(response: http.Response) -> codings.Decoder | None:
    """What undoes the content coding; None if the response is not one to guard."""
    if not 200 <= response.status_code < 300:
        return None
    coding = response.headers.get("content-encoding", "")
    try:
        return codings.Decoder(coding)
    except LookupError:
        logger.warning("Not guarded: a response with the unknown content coding %r.", coding)
        return None
