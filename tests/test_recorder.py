"""The recorder without a proxy: flows of mitmproxy's own making, and disks that fail."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.test import tflow, tutils

from harness.proxy import PATIENCE
from harness.streams import HEARTBEAT, chat
from sseguard.mitm import recorder as module
from sseguard.mitm import writer
from sseguard.mitm.options import Options, Settings
from sseguard.mitm.recorder import Recorder, Take
from sseguard.recordings.fixture import load, load_all
from sseguard.recordings.recording import Ending
from sseguard.recordings.tape import Tape
from sseguard.redaction.redact import Exchange

KEY = "sk-or-" + "v1-" + "0123456789abcdef" * 4


class Stage:
    """A recorder, and the options that it sees."""

    def __init__(self) -> None:
        self.options = Options()
        self.recorder = Recorder(self.options)

    def record_to(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(exist_ok=True)
        self.set(replace(self.options.settings, record=folder), "sse_record")

    def set(self, settings: Settings, *names: str) -> None:
        self.options.settings = settings
        self.recorder.configure(set(names))

    def begin(self, flow: http.HTTPFlow | None = None) -> Take:
        """The take of a flow whose response headers have come."""
        flow = flow or a_flow()
        self.recorder.responseheaders(flow)
        take = self.recorder.listen(flow)
        assert take is not None
        return take


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage()
    stage.record_to(tmp_path / "recordings")
    yield stage
    stage.recorder.done()


def a_flow(body: bytes = b'{"model": "vendor/model"}', path: bytes = b"/v1/chat/completions") -> http.HTTPFlow:
    request = tutils.treq(method=b"POST", path=path, content=body, host="api.example.com", port=443, scheme=b"https")
    headers = http.Headers(content_type="text/event-stream")
    return tflow.tflow(req=request, resp=tutils.tresp(headers=headers, content=None))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


class Disk:
    """A disk that is stuck until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.goes_on = threading.Event()
        opened = os.open

        def stuck(path: Path, flags: int, mode: int = 0o777) -> int:
            self.reached.set()
            assert self.goes_on.wait(PATIENCE)
            return opened(path, flags, mode)

        monkeypatch.setattr(os, "open", stuck)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.goes_on.set()


# Names


def test_a_recording_is_told_to_be_unfinished_until_it_ends(stage: Stage, folder: Path) -> None:
    take = stage.begin()
    stage.recorder.done()  # which ends the take, and waits
    assert [name.partition("Z-")[2] for name in files(folder)] == [
        "000001-api.example.com-vendor_model-http_200.sse.jsonl"
    ]
    take.chunk(b"too late")
    take.end(Ending.EOF)
    assert load(next(folder.iterdir())).end is Ending.CLIENT_LEFT


def test_only_the_owner_can_read_it(stage: Stage, folder: Path) -> None:
    before = os.umask(0)
    try:
        stage.begin()
        stage.recorder.done()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


@pytest.mark.parametrize(
    "model",
    [
        "../../../etc/passwd",
        "a/../b",
        "\0\x1b[31m\n\r",
        "CON",
        ".",
        "x" * 5000,
        "\N{ROCKET}" * 300,
        "a:b*c?d|e<f>g\"h'i\\j",
        "-rf",
        "",
        KEY,
    ],
)
def test_names_are_safe_whatever_the_model_is_called(stage: Stage, folder: Path, model: str) -> None:
    stage.begin(a_flow(json.dumps({"model": model}).encode()))
    stage.recorder.done()
    [name] = files(folder)
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 255
    assert not set(name) & set("/\\:*?\"<>|' ")
    assert name[0].isdigit()
    assert KEY[10:] not in name
    assert load(folder / name)


def test_nothing_is_ever_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        """A clock that stands still, so that two proxies choose the same names."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Stopped:
            return cls(2026, 11, 22, 9, 0, 0, 5000, tz)

    monkeypatch.setattr(module, "datetime", Stopped)
    stages = [Stage(), Stage(), Stage()]
    for number, stage in enumerate(stages):
        stage.record_to(folder)
        take = stage.begin()
        take.chunk(b": %d\n\n" % number)
        take.end(Ending.EOF)
    for stage in stages:
        stage.recorder.done()
    assert {recording.chunks[0].data for recording in load_all(folder)} == {b": 0\n\n", b": 1\n\n", b": 2\n\n"}
    assert sorted(name.partition("http_200")[2] for name in files(folder)) == [
        "-1.sse.jsonl",
        "-2.sse.jsonl",
        ".sse.jsonl",
    ]


def test_a_file_system_without_links_does_as_well(stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for _ in range(2):
        take = stage.begin()
        take.end(Ending.EOF)
    stage.recorder.done()
    assert [name.rpartition("-")[2] for name in files(folder)] == ["http_200.sse.jsonl"] * 2


# A disk that is slow, or full


def test_a_stuck_disk_stalls_no_stream_and_loses_nothing(stage: Stage, folder: Path, disk: Disk) -> None:
    take = stage.begin()
    assert disk.reached.wait(PATIENCE)
    for _ in range(1000):
        take.chunk(HEARTBEAT)
    take.end(Ending.EOF)
    disk.goes_on.set()
    stage.recorder.done()
    recording = load(next(folder.iterdir()))
    assert [chunk.data for chunk in recording.chunks] == [HEARTBEAT] * 1000
    assert recording.end is Ending.EOF


def test_times_are_those_of_arrival_and_not_of_writing(
    stage: Stage, folder: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(100, 2)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    take = stage.begin()
    take.chunk(HEARTBEAT)
    take.chunk(HEARTBEAT)
    take.end(Ending.EOF)
    disk.goes_on.set()
    stage.recorder.done()
    recording = load(next(folder.iterdir()))
    assert [chunk.at for chunk in recording.chunks] == [2.0, 4.0]
    assert recording.ended == 6.0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage, Path], None]:
    """Lets a stage record with little room for what waits."""

    def restart(stage: Stage, folder: Path) -> None:
        monkeypatch.setattr(module, "Worker", lambda name, **more: writer.Worker(name, limit=20_000, **more))
        stage.record_to(folder)

    return restart


def test_a_disk_that_is_too_slow_ends_the_recording_with_a_word_and_what_there_is_loads_as_cut(
    stage: Stage,
    folder: Path,
    disk: Disk,
    small: Callable[[Stage, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    small(stage, folder)
    take = stage.begin()
    assert disk.reached.wait(PATIENCE)
    for _ in range(100):
        take.chunk(HEARTBEAT * 40)
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "too slow" in told[0].getMessage()
    assert "api.example.com" in told[0].getMessage()
    take.end(Ending.EOF)
    disk.goes_on.set()
    stage.recorder.done()
    [path] = folder.iterdir()
    recording = load(path)
    assert "-unfinished" in path.name
    assert recording.end is Ending.CUT
    assert recording.warnings
    assert {chunk.data for chunk in recording.chunks} == {HEARTBEAT * 40}
    assert 0 < len(recording.chunks) < 20


def test_a_recording_that_finds_no_room_to_begin_is_told_too(
    stage: Stage,
    folder: Path,
    disk: Disk,
    small: Callable[[Stage, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    small(stage, folder)
    stage.begin()
    assert disk.reached.wait(PATIENCE)
    late = stage.begin(a_flow(b"x" * 30_000))
    late.chunk(HEARTBEAT)
    late.end(Ending.EOF)
    assert caplog.text.count("too slow") == 1
    disk.goes_on.set()
    stage.recorder.done()
    assert len(files(folder)) == 1


def test_when_the_disk_has_caught_up_new_streams_are_recorded_again(
    stage: Stage, folder: Path, disk: Disk, small: Callable[[Stage, Path], None]
) -> None:
    small(stage, folder)
    take = stage.begin()
    for _ in range(100):
        take.chunk(HEARTBEAT * 40)
    take.end(Ending.EOF)
    disk.goes_on.set()
    # What is submitted behind everything else is done when all of that is.
    caught_up = threading.Event()
    assert stage.recorder._folder is not None
    stage.recorder._folder._worker.submit(caught_up.set)
    assert caught_up.wait(PATIENCE)
    take = stage.begin()
    take.chunk(chat("Hello"))
    take.end(Ending.EOF)
    stage.recorder.done()
    assert [recording.end for recording in load_all(folder)] == [Ending.CUT, Ending.EOF]


def test_a_full_disk_is_told_once_and_what_was_written_still_plays(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    takes = [stage.begin(), stage.begin()]
    takes[0].chunk(HEARTBEAT)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    written = threading.Event()
    assert stage.recorder._folder is not None
    stage.recorder._folder._worker.submit(written.set)
    assert written.wait(PATIENCE)
    monkeypatch.setattr(module._File, "_write", full)
    for take in (*takes, stage.begin()):
        for _ in range(3):
            take.chunk(chat("Hello"))
        take.end(Ending.EOF)
    stage.recorder.done()
    assert [record.getMessage().count("Nothing more is recorded") for record in caplog.records] == [1]
    assert "No space left" in caplog.text
    assert [(len(recording.chunks), recording.end) for recording in load_all(folder)] == [
        (1, Ending.CUT),
        (0, Ending.CUT),
    ]


def test_a_fault_of_ours_ends_one_recording_and_no_other(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = Tape.chunk

    def fragile(tape: Tape, at: float, data: bytes) -> str:
        if data == b"bad":
            raise ValueError("no good")
        return chunk(tape, at, data)

    monkeypatch.setattr(Tape, "chunk", fragile)
    bad, good = stage.begin(), stage.begin()
    for take in (bad, good):
        take.chunk(HEARTBEAT)
    bad.chunk(b"bad")
    for take in (bad, good):
        take.chunk(HEARTBEAT)
        take.end(Ending.EOF)
    stage.recorder.done()
    assert [(len(recording.chunks), recording.end) for recording in load_all(folder)] == [
        (1, Ending.CUT),
        (2, Ending.EOF),
    ]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert "The recording" in caplog.text


def test_a_key_that_only_the_last_scan_sees_is_told_without_the_key(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Exchange, "body", lambda _, data: data)
    stage.begin(a_flow(b'{"user": "%s"}' % KEY.encode()))
    stage.recorder.done()
    assert "a secret (openrouter-key) was left out" in caplog.text
    assert KEY not in caplog.text


# Options that change


def test_a_stream_that_is_open_when_the_folder_changes_ends_where_it_began(
    stage: Stage, folder: Path, tmp_path: Path
) -> None:
    open_one = stage.begin()
    open_one.chunk(b": one\n\n")
    stage.record_to(tmp_path / "others")
    later = stage.begin()
    open_one.chunk(b": two\n\n")
    for take in (open_one, later):
        take.end(Ending.EOF)
    stage.recorder.done()
    [first] = load_all(folder)
    [second] = load_all(tmp_path / "others")
    assert ([chunk.data for chunk in first.chunks], first.end) == ([b": one\n\n", b": two\n\n"], Ending.EOF)
    assert (second.chunks, second.end) == ((), Ending.EOF)


def test_changing_the_folder_does_not_wait_for_its_disk(stage: Stage, tmp_path: Path, disk: Disk) -> None:
    take = stage.begin()
    assert disk.reached.wait(PATIENCE)
    take.end(Ending.EOF)
    stage.record_to(tmp_path / "others")  # would never return
    stage.record_to(None)
    disk.goes_on.set()
    stage.recorder.done()
    assert len(files(tmp_path / "recordings")) == 1


def test_a_folder_that_was_left_keeps_no_thread_when_its_last_stream_has_ended(stage: Stage, tmp_path: Path) -> None:
    left = stage.recorder._folder
    assert left is not None
    take = stage.begin()
    stage.record_to(tmp_path / "others")
    assert left in stage.recorder._left
    take.end(Ending.EOF)
    left._worker._thread.join(PATIENCE)
    stage.record_to(None)
    assert left not in stage.recorder._left


def test_recording_that_is_turned_off_finishes_what_has_begun_and_begins_nothing(stage: Stage, folder: Path) -> None:
    take = stage.begin()
    stage.record_to(None)
    flow = a_flow()
    stage.recorder.responseheaders(flow)
    assert stage.recorder.listen(flow) is None
    take.chunk(HEARTBEAT)
    take.end(Ending.EOF)
    stage.recorder.done()
    [recording] = load_all(folder)
    assert recording.end is Ending.EOF


def test_options_of_others_change_nothing(stage: Stage) -> None:
    before = stage.recorder._folder
    stage.set(stage.options.settings, "sse_hold_seconds")
    assert stage.recorder._folder is before


# Which flows, and what is left of them


@pytest.mark.parametrize("path", [b"/v1/models", b"/mcp"])
def test_other_endpoints_are_not_recorded(stage: Stage, path: bytes) -> None:
    flow = a_flow(path=path)
    stage.recorder.responseheaders(flow)
    assert stage.recorder.listen(flow) is None


def test_a_flow_is_let_go_when_its_recording_ends(stage: Stage) -> None:
    flow = a_flow()
    take = stage.begin(flow)
    take.chunk(HEARTBEAT)
    take.end(Ending.EOF)
    let_go = weakref.ref(flow)
    del flow, take
    done = threading.Event()
    assert stage.recorder._folder is not None
    stage.recorder._folder._worker.submit(done.set)
    assert done.wait(PATIENCE)
    gc.collect()
    assert let_go() is None


def test_done_ends_every_open_recording_and_can_be_called_again(stage: Stage, folder: Path) -> None:
    for _ in range(3):
        stage.begin().chunk(HEARTBEAT)
    stage.recorder.done()
    stage.recorder.done()
    assert [(recording.end, recording.warnings) for recording in load_all(folder)] == [(Ending.CLIENT_LEFT, ())] * 3


# Where chunks cannot be heard


def test_where_chunks_cannot_be_heard_a_whole_body_is_recorded(stage: Stage, folder: Path) -> None:
    flow = a_flow()
    stage.recorder.responseheaders(flow)
    assert flow.response is not None
    flow.response.content = b"{}"
    stage.recorder.response(flow)
    stage.recorder.done()
    [recording] = load_all(folder)
    assert ([chunk.data for chunk in recording.chunks], recording.end) == ([b"{}"], Ending.EOF)


def test_where_chunks_cannot_be_heard_a_body_that_was_not_kept_is_no_empty_one(
    stage: Stage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flow = a_flow()
    stage.recorder.responseheaders(flow)
    stage.recorder.response(flow)
    stage.recorder.done()
    [recording] = load_all(folder)
    assert recording.end is Ending.CUT
    assert recording.warnings
    assert "store_streamed_bodies" in caplog.text


@pytest.mark.parametrize(("connected", "end"), [(True, Ending.CUT), (False, Ending.CLIENT_LEFT)])
def test_where_chunks_cannot_be_heard_an_error_says_who_has_gone(
    stage: Stage, folder: Path, *, connected: bool, end: Ending
) -> None:
    flow = a_flow()
    stage.recorder.responseheaders(flow)
    flow.client_conn.state = type(flow.client_conn.state)(3 if connected else 0)
    stage.recorder.error(flow)
    stage.recorder.done()
    assert [recording.end for recording in load_all(folder)] == [end]
