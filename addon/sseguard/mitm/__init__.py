"""sseguard inside mitmproxy. `build` puts its addons together; nothing outside this package imports mitmproxy."""

from __future__ import annotations

from .guard import Guard
from .reporter import Reporter


def build() -> list[object]:
    """The addons, in the order in which their hooks are to run."""
    return [Guard(), Reporter()]
