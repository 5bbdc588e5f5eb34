"""A mitmproxy script that sets options while mitmproxy runs: `PUT /__options__` with a JSON object, through the proxy.

A value that is refused is answered with 422 and the reason.
"""

from __future__ import annotations

from mitmproxy import ctx, exceptions, http

PATH = "/__options__"


def request(flow: http.HTTPFlow) -> None:
    if flow.request.path == PATH:
        try:
            ctx.options.update(**flow.request.json())  # type: ignore[no-untyped-call]
        except exceptions.OptionsError as e:
            flow.response = http.Response.make(422, str(e))
        else:
            flow.response = http.Response.make(204)
