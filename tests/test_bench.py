"""scripts/bench measures every subject. How fast things are is not for tests to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

#: Seconds that the smallest run may take before it counts as hanging.
PATIENCE = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the smallest run prints and writes."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, "-m", "bench", "--smoke", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text("utf-8"))


def test_it_measures_every_subject_and_writes_json(run: tuple[str, dict[str, Any]]) -> None:
    titles = [section["title"] for section in run[1]["sections"]]
    assert titles == ["Relay", "Decoder", "Judging a request for its model", "Player"]


def test_every_contender_of_a_figure_has_the_same_number_of_samples(run: tuple[str, dict[str, Any]]) -> None:
    for section in run[1]["sections"]:
        for figure in section["figures"]:
            counts = {len(contender["samples"]) for contender in figure["contenders"].values()}
            assert counts == {1}, figure["name"]


def test_every_figure_has_a_row_for_each_contender_in_the_tables(run: tuple[str, dict[str, Any]]) -> None:
    rows = [line for line in run[0].splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    figures = [figure for section in run[1]["sections"] for figure in section["figures"]]
    assert len(rows) == sum(len(figure["contenders"]) for figure in figures)
    assert all(any(figure["name"] in row for row in rows) for figure in figures)
