"""sseguard inside mitmproxy. `build` puts its addons together; nothing outside this package imports mitmproxy."""

from __future__ import annotations

from .guard import Guard
from .options import Options
from .recorder import Recorder
from .replay import Replay
from .reporter import Reporter


def build() -> list[object]:
    """The addons, in the order in which their hooks are to run.

    The options are read before the others hear of a change. The recorder sees a response before the guard changes it,
    and after its request was led back; the guard judges a request before replay leads it away, and the reporter tells
    what the guard has found.
    """
    options = Options()
    recorder, replay = Recorder(options), Replay(options)
    return [options, replay.way_back, recorder, Guard(options, recorder.listen), replay, Reporter(options)]
