"""The headers of an error response of ours: what is kept of upstream's, and what is added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import Failure

#: Names the verdict on a response of ours.
VERDICT = "x-sseguard"

#: What tells whose request it was, when to come again, and which web page may read the answer. Everything else goes:
#: body framing and coding, cookies, what describes a body that is not there any more, and what a terminal would obey.
_KEPT = frozenset(
    (
        *("retry-after", "retry-after-ms", "x-should-retry", "cf-ray", "vary", "date"),
        *("openai-organization", "openai-processing-ms", "openai-version"),
    )
)
_KEPT_STARTS = ("access-control-", "x-ratelimit-", "ratelimit", "anthropic-ratelimit-")
_KEPT_ENDS = ("request-id", "requestid", "generation-id", "trace-id", "correlation-id")

#: Where upstream's id of a request is found, the most telling first.
_REQUEST_IDS = ("x-generation-id", "x-request-id", "request-id", "cf-ray")


def error_headers(failure: Failure, upstream: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The headers of the response that tells `failure`, without those that delimit its body."""
    for name, value in upstream:
        lower = name.lower()
        kept = lower in _KEPT or lower.startswith(_KEPT_STARTS) or lower.endswith(_KEPT_ENDS)
        if kept and (name + value).isprintable():
            yield name, value
    yield "content-type", "application/json"
    yield "cache-control", "no-store"
    yield VERDICT, failure.verdict.value


def request_id(headers: Iterable[tuple[str, str]]) -> str | None:
    """Upstream's own id of the request, to quote when asking its support."""
    values = {name.lower(): value for name, value in headers}
    return next((values[name] for name in _REQUEST_IDS if name in values), None)
