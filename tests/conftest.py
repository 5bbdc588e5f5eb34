"""What test modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from harness.many import Many
from harness.stage import Stage

# How long hypothesis looks: `quick` in every run, always at the same examples; `deep` behind scripts/fuzz.
settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile("deep", max_examples=500, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage for the tests of one module."""
    with Stage.set_up(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    yield shared_stage
    shared_stage.assert_unharmed()


@pytest.fixture(scope="module")
def shared_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    """A proxy for hundreds of exchanges at once, for the tests of one module."""
    with Many.set_up(tmp_path_factory.mktemp("many")) as many:
        yield many


@pytest.fixture
def many(shared_many: Many) -> Iterator[Many]:
    with shared_many.unharmed():
        yield shared_many
