"""Every option, and its reading into one frozen value. Nothing else looks at mitmproxy's options for ours."""

from __future__ import annotations

import enum
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mitmproxy import ctx, exceptions, optmanager
from mitmproxy.addonmanager import Loader
from mitmproxy.utils import human

from sseguard import endpoints, routing
from sseguard.gate import Limits
from sseguard.recordings.fixture import load_all
from sseguard.recordings.matching import Match
from sseguard.recordings.recording import FixtureError, Recording
from sseguard.redaction.secret_patterns import compile_patterns
from sseguard.routing import routes

logger = logging.getLogger(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)


class SettingsError(ValueError):
    """Raised when an option has a value that cannot be used. The message names the option."""


class ModelGuard(enum.StrEnum):
    """What to do with a slash model on a native route."""

    #: Answer with 400, without asking upstream.
    BLOCK = "block"
    #: Say so in the log, and let it pass.
    WARN = "warn"
    #: Do not look.
    OFF = "off"


class Truncated(enum.StrEnum):
    """What to do when an answer ends without an end mark."""

    #: Say so in the log.
    FLAG = "flag"
    #: Tell the client by an error frame.
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say.

    Attributes:
        limits: for the gate.
        endpoints: what is guarded besides the built-in endpoints.
        routes: where slash models may go.
        route_warnings: what is odd about the user's routes.
        model_guard: what to do with misrouted models.
        log: the file for one JSON line an exchange, or None.
        record: the folder for recordings, or None.
        record_redact: what to keep out of them besides known secrets.
        record_text: whether prompt and answer are kept in them.
        replay: the recordings to answer from; None to ask upstream.
        replay_speed: recorded seconds per second, 0 for no pacing.
        replay_match: how unlike a recorded request may be.
    """

    limits: Limits = field(default_factory=Limits)
    endpoints: tuple[endpoints.Endpoint, ...] = ()
    routes: routing.Table = field(default_factory=routing.Table)
    route_warnings: tuple[str, ...] = ()
    model_guard: ModelGuard = ModelGuard.BLOCK
    log: Path | None = None
    record: Path | None = None
    record_redact: tuple[re.Pattern[bytes], ...] = ()
    record_text: bool = True
    replay: tuple[Recording, ...] | None = None
    replay_speed: float = 1.0
    replay_match: Match = Match.PATH


#: Name, type, default and help of each option.
OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    (
        "sse_paths",
        Sequence[str],
        [],
        f"More endpoints whose event streams are guarded, each {endpoints.FORM}.",
    ),
    ("sse_hold_seconds", str, "60", "How long to hold a response's headers while no answer frame comes, in seconds."),
    ("sse_hold_bytes", str, "1m", "How much of a response to hold, in bytes; understands k/m/g suffixes."),
    ("sse_answer_timeout", str, "0", "Answer with 504 if no answer frame comes for so many seconds; 0: wait for ever."),
    (
        "sse_idle_timeout",
        str,
        "0",
        "End an answer with an error frame after so many seconds of silence; 0: wait for ever.",
    ),
    (
        "sse_truncated",
        str,
        "flag",
        "What to do when an answer ends without an end mark: say so in the log (flag), or to the client too (error).",
    ),
    ("sse_strip_comments", bool, False, "Take keep-alive comments out of guarded streams, and any compression."),
    ("sse_routes", Sequence[str], [], f"What model ids a server takes, each {routes.FORM}."),
    (
        "sse_model_guard",
        str,
        "block",
        "What to do with a vendor/model id on a route that takes bare ids: block, warn or off.",
    ),
    ("sse_log", str, "", "Append one JSON line per guarded exchange to this file."),
    ("sse_record", str, "", "Record each exchange with a generation endpoint in this folder, without secrets."),
    ("sse_record_redact", Sequence[str], [], "More secrets to keep out of recordings, each a regular expression."),
    ("sse_record_text", bool, True, "Keep prompt and answer in recordings; if not, filler of the same length."),
    ("sse_replay", str, "", "Answer generation endpoints from this recording or folder of recordings."),
    ("sse_replay_speed", str, "1", "Recorded seconds per second; 0: as fast as possible."),
    (
        "sse_replay_match",
        str,
        "path",
        "How unlike a recorded request may be: the same (exact), of the same model (model), or path (path).",
    ),
)


class Options:
    """The addon that has mitmproxy know our options, and the other addons what they say."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_options"

    def __init__(self) -> None:
        #: What the options say. When they change, this has the new value before the other addons are told.
        self.settings = Settings()
        self._running = False

    def load(self, loader: Loader) -> None:
        for name, kind, default, text in OPTIONS:
            loader.add_option(name, kind, default, text)
            try:
                ctx.options.process_deferred()
            except exceptions.OptionsError:
                # Not of the option's type. Left to itself, mitmproxy would go on without this addon, in silence.
                given = ctx.options.deferred.pop(name)
                form = "true or false" if kind is bool else "one value"
                logger.error("%s: Expected %s, got %r.", name, form, getattr(given, "val", given))

    def configure(self, updated: set[str]) -> None:
        if not any(name.startswith("sse_") for name in updated):
            return
        try:
            settings = read(ctx.options)
        except SettingsError as e:
            if self._running:
                raise exceptions.OptionsError(str(e)) from e  # type: ignore[no-untyped-call]
            # While mitmproxy starts, an error in the log stops it, without the traceback that an exception gets.
            logger.error("%s", e)
            return
        for warning in settings.route_warnings:
            if warning not in self.settings.route_warnings:
                logger.warning("%s", warning)
        self.settings = settings

    def running(self) -> None:
        self._running = True


def read(options: optmanager.OptManager) -> Settings:
    """What the options say. Raises: SettingsError."""
    user_routes = tuple(_each(options, "sse_routes", routes.parse_route))
    return Settings(
        limits=Limits(
            hold_seconds=_seconds(options, "sse_hold_seconds"),
            hold_bytes=_size(options, "sse_hold_bytes"),
            answer_timeout=_seconds(options, "sse_answer_timeout"),
            idle_timeout=_seconds(options, "sse_idle_timeout"),
            truncated_is_error=_choice(options, "sse_truncated", Truncated) is Truncated.ERROR,
            strip_comments=bool(options.sse_strip_comments),
        ),
        endpoints=tuple(_each(options, "sse_paths", endpoints.parse_endpoint)),
        routes=routing.Table(user_routes),
        route_warnings=routing.warnings_for(user_routes),
        model_guard=_choice(options, "sse_model_guard", ModelGuard),
        log=_file(options, "sse_log"),
        record=_folder(options, "sse_record"),
        record_redact=_patterns(options, "sse_record_redact"),
        record_text=bool(options.sse_record_text),
        replay=_recordings(options, "sse_replay"),
        replay_speed=_number(options, "sse_replay_speed", "a speed, 0 or more, such as 1 or 0.5"),
        replay_match=_choice(options, "sse_replay_match", Match),
    )


def _each(options: optmanager.OptManager, name: str, parse: Callable[[str], T]) -> list[T]:
    try:
        return [parse(value) for value in getattr(options, name)]
    except ValueError as e:
        raise SettingsError(f"{name}: {e}") from e


def _seconds(options: optmanager.OptManager, name: str) -> float:
    return _number(options, name, "a number of seconds, 0 or more, such as 30 or 1.5")


def _number(options: optmanager.OptManager, name: str, expected: str) -> float:
    value = getattr(options, name)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(f"{name}: Expected {expected}, got {value!r}.")
    return number


def _size(options: optmanager.OptManager, name: str) -> int:
    value = getattr(options, name)
    try:
        size = human.parse_size(value)
    except ValueError:
        size = None
    if size is None or size < 0:
        raise SettingsError(f"{name}: Expected a size in bytes, 0 or more, such as 65536, 64k or 1m, got {value!r}.")
    return size


def _choice(options: optmanager.OptManager, name: str, choices: type[E]) -> E:
    value = getattr(options, name)
    try:
        return choices(value)
    except ValueError as e:
        raise SettingsError(f"{name}: Expected one of {', '.join(choices)}, got {value!r}.") from e


def _file(options: optmanager.OptManager, name: str) -> Path | None:
    """A file that can be appended to."""
    if not (value := getattr(options, name)):
        return None
    path = Path(value).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise SettingsError(f"{name}: Expected a file in a folder that exists, got {value!r}.")
    return path


def _folder(options: optmanager.OptManager, name: str) -> Path | None:
    """A folder that can be written to; made if only the last part of it is missing."""
    if not (value := getattr(options, name)):
        return None
    path = Path(value).expanduser()
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as e:
        raise SettingsError(f"{name}: Expected a folder, or a new one in a folder, got {value!r}: {e}.") from e
    return path


def _patterns(options: optmanager.OptManager, name: str) -> tuple[re.Pattern[bytes], ...]:
    try:
        return compile_patterns(getattr(options, name))
    except ValueError as e:
        raise SettingsError(f"{name}: {e}") from e


def _recordings(options: optmanager.OptManager, name: str) -> tuple[Recording, ...] | None:
    if not (value := getattr(options, name)):
        return None
    try:
        return load_all(Path(value).expanduser())
    except (FixtureError, OSError) as e:
        raise SettingsError(f"{name}: Expected recordings that can be played, got {value!r}:\n{e}") from e
