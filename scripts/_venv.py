"""Make or update the virtual environment that _venv.sh asks for; nothing to do is the quick case."""

import fcntl
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = ".".join(map(str, sys.version_info[:3]))
FAILED = """\
Expected to install what pyproject.toml names, got the error above. Run this again when that is in order.
pip needs a network, and respects its own settings, such as PIP_INDEX_URL and PIP_CERT."""


def say(message: str) -> None:
    """Print `message` where it does not mix with the output of the script."""
    print(message, file=sys.stderr, flush=True)


def identity() -> str:
    """What an environment cannot survive a change of, on one line."""
    return json.dumps([str(ROOT), sys.base_prefix, *sys.version_info[:2]]) + "\n"


def needs() -> str:
    """What decides which packages belong in it: pyproject.toml without the settings of the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return json.dumps([project["build-system"], project["project"], project["tool"].get("hatch")])


@contextmanager
def only_one() -> Iterator[int]:
    """Wait until no other process is in here; gives the descriptor that says so.

    The system drops the lock with its last holder, so that no killed script can leave one behind. Children get the
    descriptor: a pip that outlives its parent still counts.
    """
    with Path(__file__).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another script that is preparing the environment.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def run(lock: int, *command: str) -> bool:
    """Whether `command` succeeded; if not, show what it printed."""
    own = os.environ | {"PIP_USER": "0"}  # a user install, as some set up pip to do, fails in an environment
    done = subprocess.run(
        command, cwd=ROOT, env=own, pass_fds=[lock], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        say(done.stdout.decode(errors="replace").rstrip())
    return done.returncode == 0


def state(venv: Path) -> str:
    """The stamp of `venv`: identity, then needs. Empty if there is none, it is broken, or was left half installed."""
    stamp = venv / "stamp"
    return stamp.read_text(encoding="utf-8") if stamp.exists() and (venv / "bin/python").exists() else ""


def install(venv: Path, lock: int, had: str, wanted: str, options: tuple[str, ...]) -> bool:
    """Put what belongs into `venv`, which is made anew unless the state it `had` can be built on."""
    stamp, usable = venv / "stamp", had.startswith(identity())
    say(f"{'Updating' if usable else 'Making'} {venv.name} with Python {VERSION}. This can take a minute.")
    # The pip that comes with Python 3.12.1 needs more than five minutes to find versions that go together.
    if not usable and not run(lock, sys.executable, "-m", "venv", "--clear", "--upgrade-deps", str(venv)):
        return False
    stamp.write_text("", encoding="utf-8")  # until all is there
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", *options]
    done = run(lock, *pip, "--editable", ".[test,check]")
    stamp.write_text(wanted if done else had, encoding="utf-8")
    return done


def main(folder: str, *options: str) -> None:
    """Prepare the environment in `folder`. With options, which are for pip, also if nothing is missing."""
    venv, wanted = Path(folder).resolve(), identity() + needs()
    if state(venv) == wanted and not options:
        return
    with only_one() as lock:
        had = state(venv)
        if (had != wanted or options) and not install(venv, lock, had, wanted, options):
            if had != wanted:
                sys.exit(FAILED)
            say("Going on with the packages that are there.")
    if options:
        site = next(venv.glob("lib/python*/site-packages"))
        [mitmproxy] = metadata.distributions(name="mitmproxy", path=[str(site)])
        say(f"{venv.name} has Python {VERSION} and mitmproxy {mitmproxy.version}.")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"Expected to read pyproject.toml and write to {sys.argv[1]}, got: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
