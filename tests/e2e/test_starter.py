"""A newcomer's first start: the model that ships with the software answers at once."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.synthetic import write_dataset
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="bt", dir="/tmp") as folder:
        running = Stack(Path(folder) / "data", starter=True)
        running.start()
        yield running
        running.kill_if_running()


def test_the_first_start_has_a_model_in_production(fresh: Stack) -> None:
    (version,) = fresh.rows("models", "list")
    assert version["aliases"] == ["production"]
    assert version["evaluation"]["test_size"] > 0


def test_a_slice_is_answered_and_what_is_no_slice_is_told(fresh: Stack, tmp_path: Path) -> None:
    write_dataset(tmp_path / "slices", per_class=1, size=256, seed=3)
    answers = fresh.rows("classify", str(tmp_path / "slices"))
    assert [answer["error"] for answer in answers] == [None] * 4
    assert len(fresh.rows("audit", "list")) == 4


def test_a_restart_does_not_bring_it_again(fresh: Stack) -> None:
    before = fresh.rows("models", "list")
    assert fresh.stop() == 0
    fresh.start()
    assert fresh.rows("models", "list") == before
