"""What the commands of the command line do. `cli` reads the arguments."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sseguard.mutations.chaos import Chaos, Outcome
from sseguard.mutations.mutate import MutationError, parse_mutations
from sseguard.recordings import fixture
from sseguard.recordings.assessment import decoded
from sseguard.recordings.player import MissError, Player
from sseguard.recordings.recording import FixtureError, Recording, dumps, plain
from sseguard.recordings.timeline import NARROWEST, timeline, wrapped
from sseguard.redaction import redact

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
    url, settings = _upstream(options.upstream)
    try:
        from mitmproxy.tools.main import mitmdump  # noqa: PLC0415 -- the other commands need no mitmproxy
    except ImportError as e:
        raise UsageError(f"Expected mitmproxy beside sseguard, got {e}. Install it with: pip install mitmproxy") from e
    base = f"http://127.0.0.1:{options.port}"
    _say(f"The guard in front of {url} listens at {base}. Point your client at it:")
    for variable, path in settings:
        _say(f"  export {variable}={base}{path}")
    _say("What comes and goes is told below; Ctrl-C ends it.")
    own = ["-s", str(script()), "--mode", f"reverse:{url}", "--listen-host", "127.0.0.1", "-p", str(options.port)]
    # mitmproxy also looks there, to name itself and to guess what was meant.
    sys.argv = ["mitmdump", *own, *options.rest]
    mitmdump(sys.argv[1:])
    return 0


def script() -> Path:
    """The file for mitmproxy's `-s`: installed beside the package, or above it in the repository."""
    here = Path(__file__).parent
    installed = here / "script" / "main.py"
    return installed if installed.exists() else here.parent / "main.py"


def _upstream(given: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    if given in UPSTREAMS:
        return UPSTREAMS[given]
    try:
        parts = urlsplit(given)
        known = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.query or parts.fragment or "@" in parts.netloc:
        names = ", ".join(UPSTREAMS)
        raise UsageError(f"Expected an upstream of {names}, or an https:// or http:// URL, got {given!r}.")
    # mitmproxy takes no path there: it is the client that sends it.
    return f"{parts.scheme}://{parts.netloc}", (("OPENAI_BASE_URL", parts.path.rstrip("/") or "/v1"),)


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
    except BrokenPipeError:  # of our output, not of the port
        raise
    except OSError as e:
        raise UsageError(f"Expected a free port on 127.0.0.1, got {options.port}: {e.strerror or e}.") from e
    return 0


async def _serve(player: Player, count: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C still raises KeyboardInterrupt
            loop.add_signal_handler(number, stop.set)
    async with player:
        _say(f"{count} recordings are played at {player.base_url}. Point your client at it:")
        _say(f"  export OPENAI_BASE_URL={player.base_url}/v1 OPENAI_API_KEY=any")
        _say(f"  export ANTHROPIC_BASE_URL={player.base_url} ANTHROPIC_API_KEY=any")
        _say("Ctrl-C ends it.")
        await stop.wait()


def mutate(options: argparse.Namespace) -> int:
    """Break a recording on purpose."""
    recording = _load_file(options.file)
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
    width = max(options.width or shutil.get_terminal_size((100, 24)).columns, NARROWEST)
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    for number, name in enumerate(options.files):
        recording = _load_file(name)
        told = (name, *(f"warning: {warning}" for warning in recording.warnings))
        lines = [line for text in told for line in wrapped(text, width)]
        if number:
            _say("")
        for line in (*lines, *timeline(recording, width, ascii_only=ascii_only)):
            _say(line)
    return 0


def check(options: argparse.Namespace) -> int:
    """Whether recordings are valid and free of secrets."""
    paths = _files(options.files)
    problems = [_problems(path) for path in paths]
    for problem in (problem for each in problems for problem in each):
        _say(problem)
    bad = sum(map(bool, problems))
    _say(f"{len(paths)} recordings: {len(paths) - bad} in order, {bad} not.")
    return 1 if bad else 0


def _problems(path: Path) -> list[str]:
    name = plain(str(path), 200)
    try:
        recording = fixture.load(path)
    except FixtureError as e:
        return [str(damage) for damage in e.damage]
    secrets = [f"{name}: Expected no secrets, got {what}." for what in _secrets(recording)]
    return [f"warning: {warning}" for warning in recording.warnings] + secrets


def _secrets(recording: Recording) -> Iterator[str]:
    """What a recorder would not have written."""
    request, response = recording.request, recording.response
    exchange = redact.Redactor().exchange(request.url, request.headers)
    body = json.dumps(request.body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if exchange.url != request.url:
        yield "one in the URL"
    if exchange.headers != request.headers:
        yield "one in the headers of the request"
    if exchange.body(body) != body:
        yield "one in the body of the request"
    safe = exchange.response_headers(response.headers)
    if any(
        now != was and not now[1].startswith("<redacted:account-id:")
        for now, was in zip(safe, response.headers, strict=True)
    ):
        yield "one in the headers of the response"
    chunks, stream = list(decoded(recording)), exchange.stream()
    clean = [ready.data for chunk in chunks for ready in stream.feed(chunk.at, chunk.data)]
    clean += [ready.data for ready in stream.finish()]
    if b"".join(clean) != b"".join(chunk.data for chunk in chunks):
        yield "one in the response"


def _files(names: list[str]) -> list[Path]:
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UsageError(f"Expected a recording or a folder of them, got {name!r}, which is not there.")
        paths += sorted(path.rglob(f"*{fixture.SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise UsageError(f"Expected *{fixture.SUFFIX} files, got none in {', '.join(names)}.")
    return paths


def _load(name: str) -> tuple[Recording, ...]:
    try:
        return fixture.load_all(Path(name))
    except FixtureError as e:
        raise UsageError(f"Expected recordings that can be played, got:\n{e}") from e


def _load_file(name: str) -> Recording:
    try:
        return fixture.load(Path(name))
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
