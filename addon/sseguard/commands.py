"""What the commands of the command line do. `cli` reads the arguments."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
from pathlib import Path

from . import fixture, redact
from .chaos import Chaos, Outcome
from .mutate import MutationError, parse_mutations
from .player import MissError, Player
from .recording import FixtureError, Recording, dumps, header_line, plain
from .timeline import timeline

#: Providers by name, and how common SDKs are pointed at the port in front of them.
UPSTREAMS = {
    "openrouter": ("https://openrouter.ai", (("OPENAI_BASE_URL", "/api/v1"),)),
    "openai": ("https://api.openai.com", (("OPENAI_BASE_URL", "/v1"),)),
    "anthropic": ("https://api.anthropic.com", (("ANTHROPIC_BASE_URL", ""),)),
    "gemini": ("https://generativelanguage.googleapis.com", (("GOOGLE_GEMINI_BASE_URL", ""),)),
}


class UsageError(Exception):
    """Raised when a command cannot be done as it was given. The message is for the user."""


def run(options: argparse.Namespace) -> int:
    """The guard, inside mitmdump."""
    try:
        from mitmproxy.tools.main import mitmdump  # noqa: PLC0415 -- the other commands need no mitmproxy
    except ImportError as e:
        raise UsageError(f"Expected mitmproxy beside sseguard, got {e}. Install it with: pip install mitmproxy") from e
    url, settings = _upstream(options.upstream)
    base = f"http://127.0.0.1:{options.port}"
    _say(f"The guard in front of {url} listens at {base}. Point your client at it:")
    for variable, path in settings:
        _say(f"  export {variable}={base}{path}")
    _say("What comes and goes is told below; Ctrl-C ends it.")
    own = ["-s", str(script()), "--mode", f"reverse:{url}", "--listen-host", "127.0.0.1", "-p", str(options.port)]
    mitmdump([*own, *options.rest])
    return 0


def script() -> Path:
    """The file for mitmproxy's `-s`: installed beside the package, or above it in the repository."""
    here = Path(__file__).parent
    installed = here / "script" / "main.py"
    return installed if installed.exists() else here.parent / "main.py"


def _upstream(given: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    if given in UPSTREAMS:
        return UPSTREAMS[given]
    if not given.startswith(("https://", "http://")):
        names = ", ".join(UPSTREAMS)
        raise UsageError(f"Expected an upstream of {names}, or an https:// or http:// URL, got {given!r}.")
    return given, (("OPENAI_BASE_URL", "/v1"),)


def replay(options: argparse.Namespace) -> int:
    """A provider on loopback."""
    recordings = _load(options.path)
    for warning in (f"{recording.name}: {text}" for recording in recordings for text in recording.warnings):
        sys.stderr.write(f"warning: {warning}\n")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    transform = _chaos(options.chaos, options.seed).transform(_tell) if options.chaos else None
    player = Player(
        recordings,
        port=options.port,
        speed=options.speed,
        match=options.match,
        strict=options.strict,
        transform=transform,
    )
    try:
        asyncio.run(_serve(player, len(recordings)))
    except MissError as e:
        sys.stderr.write(f"sseguard: {len(e.misses)} requests were not in the recordings:\n{e}\n")
        return 1
    except OSError as e:
        raise UsageError(f"Expected a free port on 127.0.0.1, got {options.port}: {e.strerror or e}.") from e
    return 0


async def _serve(player: Player, count: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with player:
        _say(f"{count} recordings are played at {player.base_url}. Point your client at it:")
        _say(f"  export OPENAI_BASE_URL={player.base_url}/v1 OPENAI_API_KEY=any")
        _say(f"  export ANTHROPIC_BASE_URL={player.base_url} ANTHROPIC_API_KEY=any")
        _say("Ctrl-C ends it.")
        await stop.wait()


def mutate(options: argparse.Namespace) -> int:
    """Break a recording on purpose."""
    [recording] = _load_file(options.file)
    try:
        changed = parse_mutations(options.faults)(recording)
    except MutationError as e:
        raise UsageError(str(e)) from e
    text = dumps(changed)
    if options.output == "-":
        sys.stdout.write(text)
        return 0
    try:
        with Path(options.output).open("w" if options.force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as e:
        raise UsageError(
            f"Expected a new file, got {options.output!r}, which is there. Replace it with --force."
        ) from e
    except OSError as e:
        raise UsageError(f"Expected a file that can be written, got {options.output!r}: {e.strerror or e}.") from e
    return 0


def show(options: argparse.Namespace) -> int:
    """Recordings as timelines."""
    width = options.width or shutil.get_terminal_size((100, 24)).columns
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    for number, name in enumerate(options.files):
        for recording in _load_file(name):
            if number:
                _say("")
            _say(plain(name, width))
            for warning in recording.warnings:
                _say(f"warning: {warning}")
            for line in timeline(recording, width, ascii_only=ascii_only):
                _say(line)
    return 0


def check(options: argparse.Namespace) -> int:
    """Whether recordings are valid and free of secrets."""
    bad = 0
    for path in _files(options.files):
        problems = _problems(path)
        bad += bool(problems)
        for problem in problems:
            _say(problem)
    total = len(_files(options.files))
    _say(f"{total} recordings: {total - bad} in order, {bad} not.")
    return 1 if bad else 0


def _problems(path: Path) -> list[str]:
    name = plain(str(path), 200)
    try:
        recording = fixture.load(path)
    except FixtureError as e:
        return [str(e)]
    found = [f"{name}: warning: {warning}" for warning in recording.warnings]
    exchange = redact.Redactor().exchange(recording.request.url, recording.request.headers)
    head = header_line(recording.request, recording.response, recording.recorded).encode()
    whole = b"".join(chunk.data for chunk in recording.chunks)
    for place, text in (("the request or the response headers", head), ("the response", whole)):
        if finding := redact.looks_secret(text):
            found.append(f"{name}: Expected no secrets, got something like a {finding.kind} in {place}.")
    if (exchange.url, exchange.headers) != (recording.request.url, recording.request.headers):
        found.append(f"{name}: Expected no secrets, got one in the URL or the headers of the request.")
    return found


def _files(names: list[str]) -> list[Path]:
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        paths += sorted(path.rglob(f"*{fixture.SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise UsageError(f"Expected *{fixture.SUFFIX} files, got none in {', '.join(names)}.")
    return paths


def _load(name: str) -> tuple[Recording, ...]:
    try:
        return fixture.load_all(Path(name))
    except FixtureError as e:
        raise UsageError(f"Expected recordings that can be played, got:\n{e}") from e


def _load_file(name: str) -> tuple[Recording, ...]:
    try:
        return (fixture.load(Path(name)),)
    except FixtureError as e:
        raise UsageError(f"Expected a recording, got:\n{e}") from e


def _chaos(text: str, seed: int) -> Chaos:
    try:
        return Chaos.parse(text, seed)
    except MutationError as e:
        raise UsageError(f"--chaos: {e}") from e


def _tell(index: int, outcome: Outcome) -> None:
    if outcome.done or outcome.problem:
        what = f"could not be done: {outcome.problem}" if outcome.problem else "done"
        logging.getLogger(__name__).info("Stream %d: %s %s", index, outcome.done, what)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
