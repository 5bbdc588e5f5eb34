"""What a person sees: one line per guarded exchange in the log, and the same facts as JSON lines in a file."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from io import TextIOWrapper

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.contrib import click as miniclick
from mitmproxy.utils import vt_codes

from sseguard.routing.routes import printable
from sseguard.verdicts import Verdict

from . import facts
from .facts import Facts
from .options import Options
from .writer import Writer

logger = logging.getLogger(__name__)

_WIDTH = max(len(verdict) for verdict in Verdict)


class Reporter:
    """Reports each guarded exchange once, when it is over."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_reporter"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._file: Writer | None = None

    def load(self, _: Loader) -> None:
        # Each line is to come when it is due, also into a pipe or a file, where Python would gather them.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)

    def configure(self, updated: set[str]) -> None:
        if "sse_log" in updated:
            self.done()
            path = self._options.settings.log
            self._file = Writer(path) if path else None

    def response(self, flow: http.HTTPFlow) -> None:
        self._report(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._report(flow)

    def done(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _report(self, flow: http.HTTPFlow) -> None:
        if (known := facts.get(flow)) is None:
            return
        good = Verdict(known.verdict).is_good
        logger.log(logging.INFO if good else logging.WARNING, "%s", line(known, color=_in_color()))
        if self._file is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            record = {"time": now, "method": flow.request.method, "path": flow.request.path.partition("?")[0]}
            self._file.write(json.dumps({**record, **asdict(known)}) + "\n")


def line(known: Facts, *, color: bool) -> str:
    """One exchange in one line, aligned, with nothing in it that a terminal would obey."""
    verdict = known.verdict.ljust(_WIDTH)
    if color:
        good = Verdict(known.verdict).is_good
        mild = known.verdict in (Verdict.TRUNCATED, Verdict.CLIENT_LEFT)
        verdict = miniclick.style(verdict, fg="green" if good else "yellow" if mild else "red", bold=not good)
    columns = (
        verdict,
        "  -" if known.status is None else f"{known.status:3}",
        printable(known.model or "-", 40).ljust(30),
        printable(known.host or "-", 40).ljust(16),
        f"byte {_seconds(known.first_byte)}",
        f"answer {_seconds(known.first_answer)}",
        f"{known.heartbeats:4} heartbeats",
        f"{known.frames:5} frames",
        f"in {_seconds(known.seconds)}",
        printable(known.detail, 120),
    )
    return "  ".join(columns).rstrip()


def _seconds(value: float | None) -> str:
    return "     -" if value is None else f"{value:5.2f}s"


def _in_color() -> bool:
    """Whether the log goes to a terminal; the event lists of mitmweb and the console take plain text."""
    addons = ctx.master.addons.lookup
    return "termlog" in addons and "eventstore" not in addons and vt_codes.ensure_supported(sys.stdout)
