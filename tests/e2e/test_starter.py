"""A newcomer's first start: the model that ships with the software answers at once."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

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


def test_the_first_start_has_a_model_for_each_task(fresh: Stack) -> None:
    versions = {tuple(v["aliases"]): v for v in fresh.rows("models", "list")}
    assert versions.keys() == {("production",), ("segmentation",)}
    assert versions["production",]["evaluation"]["test_size"] > 0
    assert versions["segmentation",]["segmentation"]["test_size"] > 0


def test_slices_are_answered_with_regions(fresh: Stack, tmp_path: Path) -> None:
    write_dataset(tmp_path / "slices", per_class=1, size=256, seed=3)
    answers = fresh.rows("classify", "--regions", str(tmp_path / "slices"))
    assert [answer["error"] for answer in answers] == [None] * 4
    assert len(fresh.rows("audit", "list")) == 4


def test_what_is_no_slice_is_told(fresh: Stack, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
    rows, columns = np.mgrid[:256, :256]
    waves = np.uint8(127 + 100 * np.sin(rows / 9.0) * np.cos(columns / 5.0))
    page = Image.new("L", (320, 320), 255)
    text = "the quick brown fox jumps over the lazy dog " * 2
    for line in range(20):
        ImageDraw.Draw(page).text((10, 10 + 15 * line), text, fill=0)
    pictures = {"noise": Image.fromarray(noise), "waves": Image.fromarray(waves), "page": page}
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    answers = fresh.rows("classify", str(tmp_path))
    assert [answer["decision"] for answer in answers] == ["OUT_OF_DISTRIBUTION"] * len(pictures)


def test_a_training_goes_on_from_it(fresh: Stack, tmp_path: Path) -> None:
    write_dataset(tmp_path / "mine", per_class=12, size=96, seed=5)
    fresh.rows("datasets", "upload", str(tmp_path / "mine"), "--name", "mine")
    (starter,) = (v for v in fresh.rows("models", "list") if v["aliases"] == ["production"])
    fresh.rows(
        "train", "--dataset", "mine", "--from", "production", "--watch",
        "--set", "epochs=1", "--set", "image_size=64", "--set", "learning_rate=1e-4",
    )  # fmt: skip
    newest = fresh.rows("models", "list")[0]
    starter_id = starter["name"].removeprefix("modelVersions/")
    assert newest["weights_source"].startswith(f"version {starter_id} (")
    assert newest["backbone"] == starter["backbone"]
    assert "0 of 48 slices are known" in newest["evaluation"]["protocol"]
    assert newest["spec"]["weights"] == f"version:{starter_id}#sha256={starter['digest']}"


def test_a_restart_does_not_bring_it_again(fresh: Stack) -> None:
    before = fresh.rows("models", "list")
    assert fresh.stop() == 0
    fresh.start()
    assert fresh.rows("models", "list") == before
