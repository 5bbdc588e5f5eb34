"""Measures, prints the tables, and writes them as JSON."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from . import decoder, judging, player, relay
from .figures import BenchError, Section
from .process import raise_file_limit
from .report import as_json, as_text
from .sizes import FULL, QUICK, SMOKE, Sizes

#: Subjects in the order in which they are measured.
SUBJECTS: dict[str, Callable[[Sizes, Callable[[str], None]], Section]] = {
    "relay": relay.measure,
    "decoder": decoder.measure,
    "requests": judging.measure,
    "player": player.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all was measured, whatever came out; 1 when not."""
    options = _parser().parse_args(arguments)
    sizes = SMOKE if options.smoke else QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that programs are ended that were started
    raise_file_limit()
    began, load = time.monotonic(), os.getloadavg()[0]
    if load > 0.5:
        _say(f"Something else is running here (load {load:.1f}): ratios say more than the figures themselves.")
    sections = []
    try:
        for name in options.only or SUBJECTS:
            sections.append(SUBJECTS[name](sizes, lambda what: _say(f"{time.monotonic() - began:4.0f} s  {what}")))
            sys.stdout.write(as_text(sections[-1]))
            sys.stdout.flush()
    except BenchError as e:
        sys.stderr.write(f"bench: {e}\n")
        return 1
    facts = {**_facts(), "load_before": load, "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(f"\n{_machine(facts)}\n")
    options.json.write_text(as_json(sections, facts), "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What the guard costs, against its rivals.")
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="this subject; may be given more than once")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer rounds: to see where one stands")
    size.add_argument("--smoke", action="store_true", help="the least of everything: to see that it works")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="default: %(default)s")
    return parser


def _facts() -> dict[str, object]:
    names = ("sseguard", "mitmproxy", "openai", "httpx-sse", "sseclient-py")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": dict(_versions(names)),
    }


def _versions(names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, None


def _machine(facts: dict[str, object]) -> str:
    versions = facts["versions"]
    assert isinstance(versions, dict)  # noqa: S101
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"Python {facts['python']}, {facts['cpus']} CPUs, {told}; {facts['seconds']} s."


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
