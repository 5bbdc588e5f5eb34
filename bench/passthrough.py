"""A mitmproxy script: each response is relayed by mitmproxy's own means, through a function that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmproxy import http


def responseheaders(flow: http.HTTPFlow) -> None:
    """Stream the response."""
    assert flow.response is not None  # noqa: S101 -- mitmproxy promises it
    flow.response.stream = lambda chunk: chunk
