"""Real peers for end-to-end tests: mitmdump as a subprocess, and upstreams on loopback that do as they are told."""

from .proxy import Proxy
from .upstream import Connection, Request, Upstream

__all__ = ["Connection", "Proxy", "Request", "Upstream"]
