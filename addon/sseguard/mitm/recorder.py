"""Recordings: one file per exchange with a generation endpoint, written as it happens, without secrets.

If one of these hooks should fail, mitmproxy logs it and the traffic passes unrecorded.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

from mitmproxy import http

from sseguard import endpoints, redact, routing
from sseguard.recording import Ending, Headers, RecordedResponse
from sseguard.tape import Request, Tape

from . import facts
from .options import Options, Settings
from .writer import Worker

logger = logging.getLogger(__name__)

SUFFIX = ".sse.jsonl"
UNFINISHED = "unfinished"


class Recorder:
    """Writes what comes from upstream, before the guard has touched it."""

    #: In mitmproxy, where a name can be taken once.
    name = "sseguard_recorder"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._folder: _Folder | None = None
        self._takes: WeakKeyDictionary[http.HTTPFlow, Take] = WeakKeyDictionary()

    def configure(self, updated: set[str]) -> None:
        if {"sse_record", "sse_record_redact", "sse_record_text"} & updated:
            self.done()
            settings = self._options.settings
            self._folder = _Folder(settings.record, settings) if settings.record else None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        wanted = flow.request.method == "POST" and endpoints.find(flow.request.path, self._options.settings.endpoints)
        if self._folder is None or not wanted or flow.response is None:
            return
        self._takes[flow] = Take(flow, self._folder)

    def listen(self, flow: http.HTTPFlow) -> Take | None:
        """The take of `flow`, for what comes from upstream."""
        take = self._takes.get(flow)
        if take is not None:
            take.heard = True
        return take

    def response(self, flow: http.HTTPFlow) -> None:
        take = self._takes.get(flow)
        if take is not None and not take.heard:
            # Chunks cannot be heard in this mitmproxy: there is the whole body, if it was kept.
            take.chunk((flow.response and flow.response.raw_content) or b"")
            take.end(Ending.EOF)

    def done(self) -> None:
        for take in list(self._takes.values()):
            take.end(Ending.CLIENT_LEFT)
        self._takes.clear()
        if self._folder is not None:
            self._folder.close()
            self._folder = None


class Take:
    """One exchange being recorded."""

    def __init__(self, flow: http.HTTPFlow, folder: _Folder) -> None:
        #: What comes from upstream is heard as it comes.
        self.heard = False
        self._flow = flow
        self._folder = folder
        self._opened = time.monotonic()
        self._file = _File(folder, flow)
        self._over = False

    def chunk(self, data: bytes) -> None:
        """Body bytes have come."""
        at, file = self._seconds(), self._file
        if data and not self._over and not self._folder.submit(lambda: file.chunk(at, data), len(data)):
            self._over = True
            self._folder.submit(lambda: file.abandon("the disk is too slow for this stream"))

    def end(self, ending: Ending) -> None:
        """Nothing more comes."""
        if self._over:
            return
        self._over = True
        at, file, label = self._seconds(), self._file, _label(self._flow)
        self._folder.submit(lambda: file.end(at, ending, label))

    def _seconds(self) -> float:
        return time.monotonic() - self._opened


class _Folder:
    """Where recordings go: the thread that writes them, and what they have in common."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.keep_text = settings.record_text
        self.redactor = redact.Redactor(settings.record_redact, os.urandom(32))
        self.counter = itertools.count(1)
        self._failed = False
        self._worker = Worker("sseguard records")

    def submit(self, job: Callable[[], None], size: int = 0) -> bool:
        return self._worker.submit(lambda: self._try(job), size)

    def close(self) -> None:
        self._worker.close()

    def _try(self, job: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            job()
        except OSError as e:
            self._failed = True
            logger.error(
                "Expected to write recordings to %s, got %s. Nothing more is recorded; the traffic goes on. "
                "Make room or choose another folder with sse_record.",
                self.path,
                e,
            )


class _File:
    """One recording on its way to the disk. Made where the traffic is; all else happens in the folder's thread."""

    def __init__(self, folder: _Folder, flow: http.HTTPFlow) -> None:
        request, response = flow.request, flow.response
        assert response is not None  # noqa: S101
        self._folder = folder
        self._begun = datetime.now(UTC)
        self._number = next(folder.counter)
        self._host = request.pretty_host
        self._asked = Request(request.method, request.pretty_url, _text(request.headers), request.raw_content or b"")
        self._answered = RecordedResponse(response.status_code, _text(response.headers))
        self._tape: Tape | None = None
        self._file: IO[str] | None = None
        self._path = folder.path
        folder.submit(self._begin, len(self._asked.body))

    def chunk(self, at: float, data: bytes) -> None:
        if self._tape is not None:
            self._write(self._tape.chunk(at, data))

    def end(self, at: float, ending: Ending, label: str) -> None:
        if self._tape is None or self._file is None:
            return
        self._write(self._tape.end(at, ending))
        self._file.close()
        self._file = None
        self._rename(label)

    def abandon(self, why: str) -> None:
        """Stop in the middle: what is there loads as a stream that was cut."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._tape = None
        logger.error("The recording %s is not complete: %s.", self._path, why)

    def _begin(self) -> None:
        moment = self._begun.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._tape = Tape(self._folder.redactor, self._asked, self._answered, moment)
        self._path, self._file = self._create(UNFINISHED)
        self._write(self._tape.begin())

    def _write(self, lines: str) -> None:
        if self._file is None or self._tape is None:
            return
        self._file.write(lines)
        self._file.flush()
        while self._tape.refused:
            kind = self._tape.refused.pop()
            logger.warning("Something like a %s was left out of the recording %s at the last moment.", kind, self._path)

    def _create(self, label: str) -> tuple[Path, IO[str]]:
        """A new file that only its owner can read. Raises: OSError."""
        for attempt in itertools.count():
            path = self._name(label, attempt)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            return path, os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        raise AssertionError  # the count has no end

    def _rename(self, label: str) -> None:
        """Say in the name how it ended, without replacing another file. Raises: OSError."""
        for attempt in itertools.count():
            path = self._name(label, attempt)
            try:
                os.link(self._path, path)
            except FileExistsError:
                continue
            except OSError:
                # No links on this file system: the name is still ours alone, but for another proxy's.
                if path.exists():
                    continue
                self._path.rename(path)
            else:
                self._path.unlink()
            self._path = path
            return

    def _name(self, label: str, attempt: int) -> Path:
        begun = self._begun.strftime("%Y%m%dT%H%M%S.") + f"{self._begun.microsecond // 1000:03}Z"
        model = self._model()
        again = f"-{attempt}" if attempt else ""
        name = "-".join((begun, f"{self._number:06}", _safe(self._host, 60), _safe(model, 80), _safe(label, 30)))
        return self._folder.path / f"{name}{again}{SUFFIX}"

    def _model(self) -> str:
        models = routing.models_in(self._asked.body, self._asked.url.partition("://")[2].partition("/")[2]).models
        return models[0] if models else "no-model"


def _label(flow: http.HTTPFlow) -> str:
    known = facts.get(flow)
    if known is not None:
        return known.verdict
    return f"http_{flow.response.status_code}" if flow.response else "no_response"


def _text(headers: http.Headers) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields)


def _safe(text: str, limit: int) -> str:
    """`text` as part of a file name on any file system."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)[:limit].strip("._") or "_"
