"""scripts/soak runs, and its books show what is missing, wrong or too much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Seconds that the smallest run may take before it counts as hanging.
PATIENCE = 120

#: All but those that take their time.
QUICK = ("answered", "provider_error", "_only", "empty", "malformed", "misrouted", "cut", "truncated", "client_left")


def soak(*arguments: str) -> tuple[int, dict[str, list[str]], str]:
    """The exit code, the rows of both tables by their names, and all that was said."""
    command = [sys.executable, "-m", "soak", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    rows = [line.rsplit(maxsplit=4) for line in done.stdout.splitlines()]
    return done.returncode, {row[0]: row[1:] for row in rows if len(row) == 5}, done.stdout + done.stderr


def test_a_short_soak_counts_each_stream_everywhere_and_leaves_nothing_behind() -> None:
    only = [argument for name in QUICK for argument in ("--only", name)]
    code, rows, said = soak("--exchanges", "224", "--streams", "60", *only)
    assert code == 0, said
    assert rows["all"][:3] == ["224", "224", "224"]
    assert rows["answered"] == [rows["answered"][0]] * 4
    assert (rows["handles"][3], said.splitlines()[-1]) == ("+0", "All as it should be.")


def test_an_example_that_there_is_not_is_told() -> None:
    code, rows, said = soak("--only", "nonsense")
    assert (code, rows) == (1, {})
    assert said == "soak: Expected a part of an example's name, got nonsense.\n"


def test_the_books_show_what_is_missing_wrong_or_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from soak import ledger, streams  # noqa: PLC0415 -- not a part of the package

    def logged(number: int, verdict: str) -> str:
        return json.dumps({"path": f"/host/{number}/v1/x", "verdict": verdict}) + "\n"

    (empty,), (cut,) = streams.chosen(["chat-empty.", "completions-empty"]), streams.chosen(["gemini-cut_late"])
    book = ledger.Ledger(tmp_path / "log.jsonl", tmp_path)
    for number, told in enumerate(["empty", "empty", "empty", "answered"]):
        book.enter(number, empty, told)
    book.enter(4, cut, "cut")
    book.log.write_text(logged(0, "empty") + logged(0, "empty") + logged(1, "cut") + logged(3, "empty"))
    for number in range(3):
        (tmp_path / f"{number}-empty.sse.jsonl").touch()
    (tmp_path / "4-cut.sse.jsonl").touch()
    (tmp_path / "5-http_200.sse.jsonl").touch()
    book.read()
    book.read()
    assert not book.is_complete
    book.close()
    assert sorted(book.faults) == [
        "5-http_200.sse.jsonl: expected a verdict in the name.",
        "completions-empty, exchange 1: expected empty in the log, got cut.",
        "completions-empty, exchange 2: expected empty in the log, got nothing.",
        "completions-empty: expected empty, got answered at the client.",
        "empty: expected 4 recordings, got 3.",
        "exchange 0: expected one line in the log, got empty too.",
        "gemini-cut_late, exchange 4: expected cut in the log, got nothing.",
        "http_200: expected 0 recordings, got 1.",
    ]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".jsonl"]
