from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.proxy import PATIENCE
from sseguard.mitm.writer import JOB, Worker, Writer


class Disk:
    """A job that blocks, as a slow disk would, until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.goes_on.wait(PATIENCE)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.goes_on.set()


def test_jobs_are_done_in_order_and_closing_waits_for_them() -> None:
    done: list[int] = []
    worker = Worker("test")
    for number in range(100):
        assert worker.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    worker.close()
    assert done == list(range(100))
    assert not worker.is_alive


def test_submitting_never_waits_for_a_job_that_is_stuck(disk: Disk) -> None:
    worker, done = Worker("test"), threading.Event()
    worker.submit(disk)
    assert disk.reached.wait(PATIENCE)
    assert worker.submit(done.set, 5)
    assert not done.is_set()
    disk.goes_on.set()
    worker.close()
    assert done.is_set()


def test_closing_without_waiting_leaves_the_rest_to_the_thread(disk: Disk) -> None:
    worker, done = Worker("test"), threading.Event()
    worker.submit(disk)
    worker.submit(done.set)
    worker.close(wait=False)
    assert worker.is_alive
    disk.goes_on.set()
    worker.close()
    assert done.is_set()


def test_what_may_wait_is_bounded_by_the_bytes_and_the_number_of_jobs(disk: Disk) -> None:
    worker = Worker("test", limit=10 * JOB)
    worker.submit(disk)
    assert disk.reached.wait(PATIENCE)
    taken = [worker.submit(lambda: None, 1) for _ in range(20)]
    assert taken == [True] * 8 + [False] * 12
    assert worker.submit(lambda: None)
    disk.goes_on.set()
    worker.close()


def test_there_is_room_again_when_jobs_are_done(disk: Disk) -> None:
    worker, done = Worker("test", limit=4096), threading.Event()
    assert worker.submit(disk, 3000)
    assert not worker.submit(done.set, 3000)
    disk.goes_on.set()
    caught_up = threading.Event()
    worker.submit(caught_up.set)
    assert caught_up.wait(PATIENCE)
    # The last job weighs until it has returned, which it soon will have.
    while not worker.submit(done.set, 3000):
        assert worker.is_alive
    worker.close()
    assert done.is_set()


def test_one_job_may_be_larger_than_all_that_may_wait() -> None:
    worker, done = Worker("test", limit=10), threading.Event()
    assert worker.submit(done.set, 1000)
    worker.close()
    assert done.is_set()


def test_a_job_that_fails_is_told_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("no good")

    worker, done = Worker("test"), threading.Event()
    worker.submit(fail)
    worker.submit(done.set)
    worker.close()
    assert done.is_set()
    assert "no good" in caplog.text


def test_text_is_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    writer = Writer(path)
    for number in range(10):
        writer.write(f"{number}\n")
    writer.close()
    assert path.read_text() == "before\n" + "".join(f"{number}\n" for number in range(10))


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(tmp_path)
    for _ in range(5):
        writer.write("text\n")
    writer.close()
    assert [record.getMessage().count("Nothing more is written there") for record in caplog.records] == [1]


def test_text_that_a_slow_disk_leaves_no_room_for_is_told_once(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def stuck(path: Path, *arguments: str, **options: str) -> object:
        disk()
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", stuck)
    path = tmp_path / "log"
    writer = Writer(path)
    writer.write("a")
    assert disk.reached.wait(PATIENCE)
    for _ in range(3):
        writer.write("b" * (80 << 20))
    disk.goes_on.set()
    writer.close()
    assert path.read_text() == "a"
    assert caplog.text.count("Some lines are left out") == 1
