"""The command line: `sseguard run | replay | mutate | show | check`, also as `python -m sseguard`.

Exit codes: 0 when all is well, 1 when something is wrong with what was looked at or served, 2 for a wrong command line
or a file that cannot be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from sseguard.mutations.mutate import MUTATIONS
from sseguard.recordings.matching import Match
from sseguard.recordings.timeline import NARROWEST

from . import __version__, commands
from .commands import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; `arguments` are those of the process if not given. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = _split(given)
    options = _parser().parse_args(own)
    if rest and options.command is not commands.run:
        return _wrong(f"Expected arguments behind -- only for `sseguard run`, got {' '.join(rest)!r}.")
    options.rest = rest
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
    except UsageError as e:
        return _wrong(str(e))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads our output has seen enough. What Python still wants to flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _wrong(message: str) -> int:
    sys.stderr.write(f"sseguard: {message}\n")
    return 2


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what stands behind `--`."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sseguard",
        description="Event streams from LLM APIs that tell the truth, and recordings of those that did not.",
        epilog="Each command explains itself: sseguard COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"sseguard {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(subparsers)
    _add_replay(subparsers)
    _add_mutate(subparsers)
    _add_show(subparsers)
    _add_check(subparsers)
    return parser


# argparse has no public name for it.
Subparsers = argparse._SubParsersAction


def _add_run(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="mitmdump with the guard, in front of a provider",
        description="Run mitmdump with the guard in front of a provider, on loopback. "
        "What stands behind -- goes to mitmdump: sseguard run -- --set sse_record=recordings",
    )
    parser.add_argument(
        "--upstream",
        default="openrouter",
        metavar="NAME|URL",
        help=f"{', '.join(commands.UPSTREAMS)}, or any https:// or http:// URL (default: openrouter)",
    )
    parser.add_argument("--port", type=_fixed_port, default=8080, help="the port to listen on (default: 8080)")
    parser.set_defaults(command=commands.run)


def _add_replay(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="a provider on loopback that plays recordings",
        description="Serve a recording, or a folder of them, as a provider on loopback, until Ctrl-C.",
    )
    parser.add_argument("path", metavar="FILE|FOLDER")
    parser.add_argument("--port", type=_port, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="1: as recorded; 0: without pacing")
    parser.add_argument(
        "--match",
        type=Match,
        choices=tuple(Match),
        default=Match.PATH,
        help="how unlike a recorded request may be and still be answered (default: path)",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a request was not in the recordings")
    parser.add_argument(
        "--chaos", metavar="NAME=PROBABILITY,…", help="break streams at random, such as cut=0.1,empty=0.05"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for --chaos: the same seed, the same faults")
    parser.set_defaults(command=commands.replay)


def _add_mutate(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "mutate",
        help="break a recording on purpose",
        description="Write a recording with faults in it. They are done in the order in which they are given.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help="the file to write (default: standard output)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    faults = parser.add_argument_group("faults")
    for spec in MUTATIONS.values():
        faults.add_argument(
            f"--{spec.name}",
            action=_InOrder,
            nargs=None if spec.needs_argument else "?" if spec.form else 0,
            metavar=(spec.form if spec.needs_argument else spec.form[1:-1]) or None,
            help=spec.help.replace("%", "%%"),
        )
    parser.set_defaults(command=commands.mutate, faults=[])


def _add_show(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "show",
        help="a recording as a timeline",
        description="Show each block of a recording at its time, silences to scale, heartbeats folded, verdict last.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--width", type=_width, default=None, metavar="COLUMNS", help="(default: the terminal's)")
    parser.set_defaults(command=commands.show)


def _add_check(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="are these recordings valid, and free of secrets?",
        description="Check recordings: exit with 1 if one is damaged or holds something like a key.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE|FOLDER")
    parser.set_defaults(command=commands.check)


class _InOrder(argparse.Action):
    """Collects faults in the order given, as `NAME` or `NAME=ARGUMENT`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        name = self.option_strings[0].removeprefix("--")
        namespace.faults = [*namespace.faults, f"{name}={values}" if isinstance(values, str) else name]


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"Expected a port from 0 to 65535, got {text!r}.")


def _fixed_port(text: str) -> int:
    # Which port is free is only known when mitmdump listens, after it was told how to use it.
    if port := _port(text):
        return port
    raise argparse.ArgumentTypeError("Expected a port from 1 to 65535, got '0'.")


def _width(text: str) -> int:
    if text.isascii() and text.isdigit() and NARROWEST <= int(text) <= 10_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"Expected a width from {NARROWEST} to 10000 columns, got {text!r}.")


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if 0 <= speed < float("inf"):
        return speed
    raise argparse.ArgumentTypeError(f"Expected a speed of 0 or more, such as 1 or 0.5, got {text!r}.")
