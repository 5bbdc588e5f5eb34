"""mitmdump in reverse mode on a free port, for as long as it is needed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MITMDUMP = Path(sys.executable).with_name("mitmdump")

#: Seconds.
START_WITHIN = 60.0
STOP_WITHIN = 5.0

#: Times to start it: what was a free port may be taken before mitmdump gets to it.
ATTEMPTS = 3


class StartError(Exception):
    """Raised when mitmdump does not start. The message has what it said."""


class Proxy:
    """Runs mitmdump in front of `upstream` inside a `with` block, and ends it behind.

    Args:
        upstream: scheme, host and port of the server behind it.
        options: further arguments for mitmdump.
        output: a file for what it says, or None for the terminal.

    Raises:
        StartError: on entering, if there is no mitmdump beside the interpreter.
    """

    def __init__(self, upstream: str, *options: str, output: IO[bytes] | None = None) -> None:
        self._options = ("--mode", f"reverse:{upstream}", "--listen-host", "127.0.0.1", *options)
        self._output = output
        self._port = 0
        self._process: subprocess.Popen[bytes]
        # Neither the user's settings nor the user's CA are to play a part.
        self._folder = tempfile.TemporaryDirectory(prefix="sseguard-")

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._folder.cleanup()

    def url(self) -> str:
        """Wait until it listens, and tell where. Raises: StartError."""
        for _ in range(ATTEMPTS):
            if self._listens():
                return f"http://127.0.0.1:{self._port}"
            self._stop()
            self._start()
        raise StartError(f"Expected mitmdump to listen on port {self._port}, got nothing there. {self._said()}")

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._process.wait()

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = server.getsockname()[1]
        own = ("--listen-port", str(self._port), "--set", f"confdir={self._folder.name}", "--set", "flow_detail=0")
        try:
            self._process = subprocess.Popen(
                [str(MITMDUMP), *self._options, *own],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
            )
        except OSError as error:
            raise StartError(f"Expected mitmdump beside {sys.executable}, got: {error}") from error

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when one more Ctrl-C comes
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        give_up = time.monotonic() + START_WITHIN
        while self._process.poll() is None and time.monotonic() < give_up:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return self._process.poll() is None
            time.sleep(0.05)
        return False

    def _said(self) -> str:
        if self._output is None:
            return "It says why above."
        self._output.seek(0)
        return "It says:\n" + self._output.read().decode("utf-8", "replace").rstrip()
