"""mitmdump in a terminal, to see what a person sees: every byte that it writes there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .proxy import ADDON, MITMDUMP, PATIENCE, ProxyError

#: Sets colours; the only thing that may come after an escape.
COLOR = re.compile(rb"\x1b\[[0-9;]*m")


@dataclass
class Terminal:
    """A mitmdump with the addon, and the screen it writes to."""

    process: subprocess.Popen[bytes]
    screen: int
    seen: bytes = b""
    port: int = 0

    @classmethod
    @contextmanager
    def running(cls, confdir: Path, mode: str, **options: str) -> Iterator[Terminal]:
        """In `mode`; stopped at the end, by its process id."""
        screen, inside = pty.openpty()
        command = [str(MITMDUMP), "--mode", mode, "--listen-host", "127.0.0.1", "--listen-port", "0", "-s", str(ADDON)]
        for name, value in {"confdir": str(confdir), **options}.items():
            command += ["--set", f"{name}={value}"]
        environment = {**os.environ, "TERM": "xterm-256color"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=inside, stderr=inside, env=environment)
        os.close(inside)
        terminal = cls(process, screen)
        try:
            terminal.port = int(terminal.wait_for(rb"listening at .*:(\d+)\.")[1])
            yield terminal
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                os.close(screen)

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """The first match of `pattern` in what is on the screen, or comes."""
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.screen], [], [], PATIENCE)
            if not ready:
                raise ProxyError(f"Expected {pattern!r} on the screen, got {self.seen!r}")
            self.seen += os.read(self.screen, 65536)
        return match
