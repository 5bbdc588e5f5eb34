"""The main job, shown: each example stream through mitmdump to a real SDK, without the addon and with it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING

from demo_proxy import Proxy, StartError
from demo_table import APIS, Example, Row, Table, model_in

from sseguard.recordings.fixture import load_all
from sseguard.recordings.matching import Match
from sseguard.recordings.player import Player, run_in_thread
from sseguard.recordings.recording import Ending

if TYPE_CHECKING:
    from demo_clients import Clients, Outcome

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "examples" / "fixtures"

#: What the guard allows, in seconds: less than the clients do.
TIMEOUT = 3.0

#: Requests at once. Most of them wait.
WORKERS = 48

#: Which of the examples' hosts take what model ids. All are one loopback player here, each with a path of its own.
ROUTES = {
    "openrouter.ai": "openrouter",
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "native",
}


def guard_options(player: Player, log: Path | None = None) -> list[str]:
    """What the guarded mitmdump gets on its command line."""
    host = player.base_url.partition("://")[2]
    options = [f"sse_answer_timeout={TIMEOUT}", f"sse_idle_timeout={TIMEOUT}"]
    options += [f"sse_routes={host}/{name}={kind}" for name, kind in ROUTES.items()]
    options += [f"sse_log={log}"] if log else []
    return ["-s", str(ROOT / "addon" / "main.py"), *(part for option in options for part in ("--set", option))]


def compare(examples: Sequence[Example], player: Player) -> bool:
    """Print the table; whether all is as promised."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sseguard-")))
        log, *said = folder / "log.jsonl", *(stack.enter_context((folder / str(i)).open("w+b")) for i in range(2))
        plain = stack.enter_context(Proxy(player.base_url, output=said[0]))
        guarded = stack.enter_context(Proxy(player.base_url, *guard_options(player, log), output=said[1]))
        # They start while this goes on.
        from demo_clients import Clients  # noqa: PLC0415 -- the SDKs take seconds to import

        without, with_it = Clients(plain.url()), Clients(guarded.url())
        packages = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(sdk for _, sdk in APIS.values()))
        print(f"{len(examples)} streams through mitmdump {version('mitmproxy')} to real SDKs: {packages}\n")
        done, table = [], Table(examples, sys.stdout)
        for row in stack.enter_context(contextlib.closing(rows(examples, without, with_it, log, player))):
            table.add(row)
            done.append(row)
        # Not when interrupted: the requests under way end with their proxy, and behind a closed client they would hang.
        without.close()
        with_it.close()
        return summarize(done) & is_tidy(player, said[1])


def rows(
    examples: Sequence[Example], plain: Clients, guarded: Clients, log: Path, player: Player
) -> Generator[Row, None, None]:
    """Run all examples, many at a time, and give their rows in order."""
    asked: dict[str, tuple[Future[Outcome], Future[Outcome]]] = {}
    with workers() as pool:
        # Those that only wait go first, so that the others run meanwhile.
        for example in sorted(examples, key=lambda example: example.recording.end is not Ending.CLIENT_LEFT):
            request, patience = example.recording.request, example.patience
            asked[example.name] = (
                pool.submit(plain.ask, request, patience),
                pool.submit(guarded.ask, request, patience),
            )
        for example in examples:
            without, with_it = (future.result() for future in asked[example.name])
            reached = sum(model_in(request.path, request.json) == example.model for request in player.requests)
            yield Row(example, without, with_it, logged(log, example.model), reached)


@contextlib.contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; when interrupted, what has not begun is dropped, and what has is not waited for."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def logged(log: Path, model: str) -> str:
    """The verdict in the guard's log on the exchange about `model`; empty if none comes within two seconds."""
    for _ in range(40):
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        if verdicts := [entry["verdict"] for entry in entries if entry["model"] == model]:
            return " and ".join(verdicts)
        time.sleep(0.05)
    return ""


def summarize(done: Sequence[Row]) -> bool:
    """Print what the table comes to; whether all rows are as promised."""
    without, with_it = (sum(row.looks_like_success[column] for row in done) for column in (0, 1))
    names = sorted({row.example.verdict for row in done if row.looks_like_success[1]})
    untouched = f" ({', '.join(names)}: flagged in the log, untouched by default)" if names else ""
    print(f"\nFailures that look like success to a client: {without} without the guard, {with_it} with it{untouched}.")
    broken = [row.example.name for row in done if not row.is_as_promised]
    print(f"Not as promised: {', '.join(broken)}." if broken else f"All {len(done)} rows are as promised.")
    return not broken


def is_tidy(player: Player, said: IO[bytes]) -> bool:
    """Whether nothing has crashed in the guarded mitmdump, and no connection is left at the provider."""
    said.seek(0)
    crashed = [line for line in said if b"Traceback" in line or b"crash" in line]
    if crashed:
        print(f"Expected no crash in mitmdump, got: {crashed[0].decode('utf-8', 'backslashreplace').strip()}")
    if not (left := player.idle.wait(TIMEOUT)):
        print("Expected no connection at the provider once all clients had gone, got some.")
    return left and not crashed


TRY = """
The guard listens at {guard}, in front of a player on loopback that answers by path and model.
Try it from another terminal; the guard's line on each request shows here. Ctrl-C stops it.

Nothing but heartbeats, which clients take for success; here it is a 502:
  curl -si {guard}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "demo/heartbeats-only", "stream": true, "messages": []}}'

A connection lost in the middle of the answer, which the SDK raises with the reason:
  export OPENAI_BASE_URL={guard}/v1 OPENAI_API_KEY=demo
  {python} -c '
from openai import OpenAI
for chunk in OpenAI().chat.completions.create(model="demo/cut-late", messages=[], stream=True):
    print(chunk.choices[0].delta.content, end="", flush=True)'

A vendor/model id on a route to one vendor, which is not sent at all:
  curl -si {guard}/api.openai.com/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "anthropic/claude-sonnet-4.5", "stream": true, "messages": []}}'

More models:              curl -s {guard}/v1/models
The same, not guarded:    {plain}
"""


def serve(player: Player) -> None:
    """Keep the guarded proxy up until interrupted. Raises: StartError, also when mitmdump ends by itself."""
    with Proxy(player.base_url, *guard_options(player)) as proxy:
        guard, python = proxy.url(), Path(sys.executable)
        time.sleep(0.5)  # for mitmdump to say first what it says when it starts
        short = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
        print(TRY.format(guard=guard, plain=player.base_url, python=short), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            proxy.wait()
            raise StartError("Expected mitmdump to run until interrupted, got its end.")
    print("Stopped.")


def chosen(only: Sequence[str]) -> list[Example]:
    """The examples that have any of the texts `only` in their names (all, if there are none), in order."""
    every = sorted(map(Example.read, load_all(FIXTURES)), key=lambda example: example.order)
    found = [example for example in every if not only or any(text in example.name for text in only)]
    if not found:
        names = ", ".join(example.name for example in every)
        sys.exit(f"Expected a part of an example's name, got {', '.join(only)}. There are: {names}.")
    return found


def run() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="keep the guarded proxy up, to try it by hand")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only examples with NAME in theirs")
    arguments = parser.parse_args()
    examples = chosen(arguments.only)
    with run_in_thread(Player([example.recording for example in examples], match=Match.MODEL)) as player:
        if arguments.serve:
            serve(player)
            return 0
        return 0 if compare(examples, player) else 1


def main() -> int:
    """Run, and end quietly when told to."""
    os.environ["NO_PROXY"] = "*"  # all of this stays on loopback
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal gets a ? for what it cannot show
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run()
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the table went into `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
