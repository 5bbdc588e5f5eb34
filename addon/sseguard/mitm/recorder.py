"""Recordings: one file per exchange with a generation endpoint, written as it happens, without secrets.

If one of these hooks should fail, mitmproxy logs it and the traffic passes unrecorded.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from mitmproxy import http

from sseguard import endpoints
from sseguard.recordings.recording import Ending, Headers, RecordedResponse
from sseguard.recordings.tape import Request, Tape
from sseguard.redaction import redact
from sseguard.routing.routes import printable

from . import facts
from .options import Options, Settings
from .writer import Worker

logger = logging.getLogger(__name__)

SUFFIX = ".sse.jsonl"
UNFINISHED = "unfinished"

#: How far what is on the disk may be behind what has come, in seconds.
PAUSE = 0.05

#: How long one thread may keep Python from another that waits, in seconds, while recordings are written. With the usual
#: 5 ms a stream would wait that long for a redaction, and a busy proxy's recorder that long after each file access.
SWITCH_INTERVAL = 0.0005


class Recorder:
    """Writes what comes from upstream, before the guard has touched it."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_recorder"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._folder: _Folder | None = None
        self._left: list[_Folder] = []  # for others, with streams that began there and end there
        self._takes: dict[http.HTTPFlow, Take] = {}
        self._usual_interval = sys.getswitchinterval()

    def configure(self, updated: set[str]) -> None:
        if not {"sse_record", "sse_record_redact", "sse_record_text"} & updated:
            return
        if self._folder is not None:
            self._folder.leave()
            self._left = [folder for folder in (*self._left, self._folder) if folder.is_open]
        settings = self._options.settings
        self._folder = _Folder(settings.record, settings) if settings.record else None
        sys.setswitchinterval(SWITCH_INTERVAL if self._folder else self._usual_interval)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        wanted = flow.request.method == "POST" and endpoints.find(flow.request.path, self._options.settings.endpoints)
        if self._folder is None or not wanted or flow.response is None:
            return
        self._takes[flow] = Take(flow, self._folder, lambda: self._takes.pop(flow, None))

    def listen(self, flow: http.HTTPFlow) -> Take | None:
        """The take of `flow`, for what comes from upstream."""
        take = self._takes.get(flow)
        if take is not None:
            take.heard = True
        return take

    def response(self, flow: http.HTTPFlow) -> None:
        take = self._takes.get(flow)
        if take is None or take.heard or flow.response is None:
            return
        # Chunks cannot be heard in this mitmproxy: there is the whole body, if it was kept.
        if (body := flow.response.raw_content) is None:
            take.abandon("this mitmproxy does not let sseguard hear streams; store_streamed_bodies helps")
        else:
            take.chunk(body)
        take.end(Ending.EOF)

    def error(self, flow: http.HTTPFlow) -> None:
        take = self._takes.get(flow)
        if take is not None and not take.heard:
            take.end(Ending.CUT if flow.client_conn.connected and not _is_killed(flow) else Ending.CLIENT_LEFT)

    def done(self) -> None:
        for take in list(self._takes.values()):
            take.end(Ending.CLIENT_LEFT)
        for folder in (*self._left, self._folder):
            if folder is not None:
                folder.close()
        self._left, self._folder = [], None
        sys.setswitchinterval(self._usual_interval)


class Take:
    """One exchange being recorded. `over` is called when it ends."""

    def __init__(self, flow: http.HTTPFlow, folder: _Folder, over: Callable[[], object]) -> None:
        #: What comes from upstream is heard as it comes.
        self.heard = False
        self._flow: http.HTTPFlow | None = flow
        self._folder = folder
        self._over = over
        self._opened = time.monotonic()
        self._file = _File(folder, flow)
        self._writes = True
        folder.takes += 1
        self._submit(self._file.begin, len(flow.request.raw_content or b"") + 1)

    def chunk(self, data: bytes) -> None:
        """Body bytes have come."""
        if data:
            at, file = self._seconds(), self._file
            self._submit(lambda: file.chunk(at, data), len(data))

    def end(self, ending: Ending) -> None:
        """Nothing more comes. Does nothing the second time."""
        if self._flow is None:
            return
        at, file, label = self._seconds(), self._file, _label(self._flow, ending)
        self._submit(lambda: file.end(at, ending, label))
        self._flow = None
        self._over()
        self._folder.take_is_over()

    def abandon(self, why: str) -> None:
        """Stop in the middle: what is there loads as a stream that was cut."""
        if self._writes and self._flow is not None:
            host = printable(self._flow.request.pretty_host)
            logger.error("The recording of a request to %s is not complete: %s.", host, why)
            self._submit(self._file.close)
            self._writes = False

    def _submit(self, job: Callable[[], None], size: int = 0) -> None:
        if self._writes and not self._folder.submit(self._file, job, size):
            self.abandon(f"the disk of {self._folder.path} is too slow for what comes")

    def _seconds(self) -> float:
        return time.monotonic() - self._opened


class _Folder:
    """Where recordings go: the thread that writes them, and what they have in common."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.keep_text = settings.record_text
        self.redactor = redact.Redactor(settings.record_redact, os.urandom(32))
        self.counter = itertools.count(1)
        #: How many have begun here and not ended.
        self.takes = 0
        self._is_left = False
        self._failed = False
        self._unflushed: set[_File] = set()
        self._worker = Worker("sseguard records", pause=PAUSE, rest=self._flush)

    @property
    def is_open(self) -> bool:
        """Whether anything may still be written here."""
        return self._worker.is_alive

    def submit(self, file: _File, job: Callable[[], None], size: int) -> bool:
        """Have `job` done for `file` soon; False if too much waits already, which is never so for a size of 0."""
        return self._worker.submit(lambda: self._try(file, job), size)

    def leave(self) -> None:
        """No take begins here any more. Does not wait."""
        self._is_left = True
        if not self.takes:
            self._worker.close(wait=False)

    def take_is_over(self) -> None:
        self.takes -= 1
        if self._is_left:
            self.leave()

    def close(self) -> None:
        """Wait until all is written."""
        self._worker.close()

    def touched(self, file: _File) -> None:
        """Something was written to `file`."""
        self._unflushed.add(file)

    def _flush(self) -> None:
        while self._unflushed:
            file = self._unflushed.pop()
            self._try(file, file.flush)

    def _try(self, file: _File, job: Callable[[], None]) -> None:
        try:
            if not self._failed:
                job()
        except OSError as e:
            self._failed = True
            logger.error(
                "Expected to write recordings to %s, got %s. Nothing more is recorded; the traffic goes on. "
                "Make room or choose another folder with sse_record.",
                self.path,
                e,
            )
        except Exception:
            logger.exception("The recording %s has failed and is not complete; the traffic goes on.", file.path)
            file.close()
        if self._failed:
            file.close()


class _File:
    """One recording on its way to the disk. Made where the traffic is; all else happens in the folder's thread."""

    def __init__(self, folder: _Folder, flow: http.HTTPFlow) -> None:
        request, response = flow.request, flow.response
        assert response is not None  # noqa: S101
        self.path = folder.path
        self._folder = folder
        self._begun = datetime.now(UTC)
        self._number = next(folder.counter)
        self._asked = Request(request.method, request.pretty_url, _text(request.headers), request.raw_content or b"")
        self._answered = RecordedResponse(response.status_code, _text(response.headers))
        self._tape: Tape | None = None
        self._file: FileIO | None = None
        self._lines: list[str] = []  # not written yet; a buffer of the file's own would take 8 KiB a stream
        self._about = ""

    def begin(self) -> None:
        """Raises: OSError, as all of these."""
        moment = self._begun.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._tape = Tape(self._folder.redactor, self._asked, self._answered, moment, keep_text=self._folder.keep_text)
        self._about = f"{_safe(self._tape.host, 60)}-{_safe(self._tape.model or 'no-model', 80)}"
        first = self._tape.begin()
        self.path, self._file = self._create(UNFINISHED)
        try:
            self._write(first)
            self.flush()
        except OSError:
            # Without a first line it is no recording, and would stand in the way of loading the others.
            self.path.unlink()
            raise

    def chunk(self, at: float, data: bytes) -> None:
        if self._tape is not None:
            self._write(self._tape.chunk(at, data))

    def end(self, at: float, ending: Ending, label: str) -> None:
        if self._tape is None or self._file is None:
            return
        self._write(self._tape.end(at, ending))
        self.flush()
        self._file.close()
        self._file = None
        self._rename(label)

    def flush(self) -> None:
        data = "".join(self._lines).encode("utf-8")
        self._lines.clear()
        while data and self._file is not None:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        """Write nothing more."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.flush()
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = self._tape = None

    def _write(self, lines: str) -> None:
        if self._file is None or self._tape is None:
            return
        self._lines.append(lines)
        self._folder.touched(self)
        while self._tape.refused:
            kind = self._tape.refused.pop()
            logger.warning(
                "What looks like a secret (%s) was left out of the recording %s at the last moment.", kind, self.path
            )

    def _create(self, label: str) -> tuple[Path, FileIO]:
        """A new file that only its owner can read. Raises: OSError."""
        for attempt in itertools.count():
            path = self._name(label, attempt)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            return path, FileIO(descriptor, "w")
        raise AssertionError  # the count has no end

    def _rename(self, label: str) -> None:
        """Say in the name how it ended, without replacing another file. Raises: OSError."""
        for attempt in itertools.count():
            path = self._name(label, attempt)
            try:
                os.link(self.path, path)
            except FileExistsError:
                continue
            except OSError:
                # No links on this file system: the name is still ours alone, but for another proxy's.
                if path.exists():
                    continue
                self.path.rename(path)
            else:
                self.path.unlink()
            self.path = path
            return

    def _name(self, label: str, attempt: int) -> Path:
        begun = self._begun.strftime("%Y%m%dT%H%M%S.") + f"{self._begun.microsecond // 1000:03}Z"
        again = f"-{attempt}" if attempt else ""
        return self._folder.path / f"{begun}-{self._number:06}-{self._about}-{_safe(label, 30)}{again}{SUFFIX}"


def _label(flow: http.HTTPFlow, ending: Ending) -> str:
    known = facts.get(flow)
    if known is not None:
        return known.verdict
    if _is_killed(flow):
        return "killed"
    if flow.error is not None and ending is Ending.CLIENT_LEFT:
        # Perhaps before the guard has said so: mitmproxy may tell of it while it still looks at the headers.
        return str(ending)
    return f"http_{flow.response.status_code}" if flow.response else "no_response"


def _is_killed(flow: http.HTTPFlow) -> bool:
    """Whether a person or an addon has ended it, and neither the client nor upstream."""
    return flow.error is not None and flow.error.msg == flow.error.KILLED_MESSAGE


def _text(headers: http.Headers) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields)


def _safe(text: str, limit: int) -> str:
    """`text` as part of a file name on any file system."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)[:limit].strip("._") or "_"
