"""What fits and what does not."""

from pathlib import Path

import pytest

from core.errors import TrainingFailed
from core.training import TrainingSpec
from workers.learning import memory

SPEC = TrainingSpec(batch_size=4, image_size=64)


def test_a_step_that_fits_passes() -> None:
    memory.check_training_memory(SPEC, bytes_per_slice=100, available=400)


def test_a_step_that_cannot_fit_says_what_to_do() -> None:
    with pytest.raises(TrainingFailed, match=r"4 slices of 64 x 64 .* 3.0 GiB.*Lower batch_size"):
        memory.check_training_memory(SPEC, bytes_per_slice=3 * 2**28, available=2**30)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    return tmp_path


def test_available_memory_is_the_machines(proc: Path) -> None:
    assert memory.available_memory() == 5000 * 1024


def test_a_container_may_have_less(proc: Path) -> None:
    (proc / "memory.max").write_text("3000000\n")
    (proc / "memory.current").write_text("1000000\n")

    assert memory.available_memory() == 2_000_000


def test_a_container_without_a_limit_has_the_machines(proc: Path) -> None:
    (proc / "memory.max").write_text("max\n")
    (proc / "memory.current").write_text("1000000\n")

    assert memory.available_memory() == 5000 * 1024


def test_an_unknown_system_counts_its_pages(proc: Path) -> None:
    (proc / "meminfo").unlink()

    assert memory.available_memory() > 2**20
