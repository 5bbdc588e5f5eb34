"""mitmdump as users run it: a subprocess, with the addon loaded from its file."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "addon" / "main.py"
PROBE = Path(__file__).parent / "probe.py"
MITMDUMP = Path(sys.executable).parent / "mitmdump"

#: How long a peer may take before a test fails, in seconds. Nothing waits for it when all is well.
PATIENCE = 30.0

_LISTENING = re.compile(r"listening at .*:(\d+)\.")


class ProxyError(AssertionError):
    """Raised when mitmdump does not do what was waited for; the message has its output."""


@dataclass
class Proxy:
    """A running mitmdump. Its output is read line by line; what the probe script saw is in `flows`."""

    process: subprocess.Popen[str]
    confdir: Path
    port: int = 0
    lines: list[str] = field(default_factory=list)
    _flows: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    @classmethod
    @contextmanager
    def running(
        cls,
        confdir: Path,
        *,
        mode: str = "regular",
        addon: bool = True,
        scripts: tuple[Path, ...] = (),
        options: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Iterator[Proxy]:
        """mitmdump with the addon, then `scripts`, then the probe; stopped at the end, by its process id."""
        with cls.started(
            confdir, mode=mode, addon=addon, scripts=scripts, options=options, arguments=arguments
        ) as proxy:
            proxy.port = int(proxy.wait_for(_LISTENING)[1])
            yield proxy

    @classmethod
    @contextmanager
    def started(
        cls,
        confdir: Path,
        *,
        mode: str | None = "regular",
        addon: bool = True,
        scripts: tuple[Path, ...] = (),
        options: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Iterator[Proxy]:
        """As `running`, for a mitmdump that may refuse to start; without a mode, its configuration file has it."""
        command = [str(MITMDUMP)]
        if mode is not None:
            command += ["--mode", mode, "--listen-host", "127.0.0.1", "--listen-port", "0"]
        for script in ((ADDON,) if addon else ()) + scripts + (PROBE,):
            command += ["-s", str(script)]
        for name, value in {"confdir": str(confdir), **(options or {})}.items():
            command += ["--set", f"{name}={value}"]
        # The addon sees to it that each line comes when it is due; mitmproxy alone does not.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(
            [*command, *arguments],
            env=environment if addon else {**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        proxy = cls(process, confdir)
        reader = threading.Thread(target=proxy._read, daemon=True)
        reader.start()
        try:
            yield proxy
        finally:
            proxy.stop()
            reader.join()
            assert process.stdout is not None
            process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ca(self) -> str:
        """The certificate to trust for what the proxy says over TLS."""
        return str(self.confdir / "mitmproxy-ca-cert.pem")

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def flow(self) -> dict[str, Any]:
        """What the probe saw of the next flow to end (see `probe.py`)."""
        try:
            return self._flows.get(timeout=PATIENCE)
        except queue.Empty:
            raise ProxyError(f"Expected a flow to end, got:\n{self.output}") from None

    def wait_for(self, pattern: str | re.Pattern[str], times: int = 1) -> re.Match[str]:
        """The first match of `pattern` in a line of the output, past or to come; or the second, and so on."""
        expected = re.compile(pattern)
        with self._changed:
            while True:
                found = [match for line in self.lines if (match := expected.search(line))]
                if len(found) >= times:
                    return found[times - 1]
                if self._ended or not self._changed.wait(PATIENCE):
                    raise ProxyError(f"Expected a line with {expected.pattern!r}, got:\n{self.output}")

    def stop(self) -> int:
        """Stop it as a user would, and give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise ProxyError(f"Expected mitmdump to stop, got:\n{self.output}") from None

    def wait_until_ended(self) -> int:
        """Wait until it has stopped by itself, with all of its output read, and give its exit code."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, PATIENCE):
                raise ProxyError(f"Expected mitmdump to stop, got:\n{self.output}")
        return self.process.wait(PATIENCE)

    def insides(self) -> dict[str, int]:
        """What it holds now (see `probe.py`); in reverse mode only."""
        return self._probed("/__probe__")

    def settled(self) -> dict[str, int]:
        """What it holds when all other streams are gone."""
        found = self._probed("/__probe__?settled")
        assert found["streams"] == 1, found
        return found

    @contextmanager
    def bounded(self, mebibytes: int) -> Iterator[None]:
        """It takes at most so much more memory at any moment meanwhile."""
        process = Path(f"/proc/{self.process.pid}")
        (process / "clear_refs").write_text("5")  # sets the peak back, proc_pid_clear_refs(5)
        before = self.insides()["resident"]
        yield
        peak = int(re.findall(r"VmHWM:\s*(\d+) kB", (process / "status").read_text())[0]) << 10
        assert peak - before <= mebibytes << 20, f"{(peak - before) / (1 << 20):.1f} MiB more, {self.output}"

    @contextmanager
    def leaving_nothing(self) -> Iterator[None]:
        """No stream, task or open file stays of what is done meanwhile; in reverse mode only."""
        before = self.settled()
        yield
        deadline = time.monotonic() + PATIENCE
        while any(after[name] != before[name] for after in [self.settled()] for name in ("tasks", "files")):
            assert time.monotonic() < deadline, f"Expected {before}, got {self.settled()}."

    def set(self, **options: Any) -> None:
        """Set options (with `tuner.py` among the scripts); in reverse mode only."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("PUT", "/__options__", json.dumps(options), {"content-type": "application/json"})
            response = connection.getresponse()
            assert response.status == 204, response.read()
        finally:
            connection.close()

    def _probed(self, path: str) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            found: dict[str, int] = json.load(connection.getresponse())
        finally:
            connection.close()
        return found

    def assert_unharmed(self) -> None:
        """It runs, and has said nothing of a crash."""
        assert self.process.poll() is None, self.output
        for sign in ("Traceback", "has crashed", "AssertionError", "Addon error", "Task exception"):
            assert sign not in self.output, self.output

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("PROBE "):
                self._flows.put(json.loads(line.removeprefix("PROBE ")))
                continue
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
