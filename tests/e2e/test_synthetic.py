"""Upload, train, promote, classify, audit: the main job, on slices made here."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.cli.synthetic import write_dataset
from tests.e2e.conftest import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# The network whose job is shortest.
RECIPE = ["--backbone", "efficientnet_lite0", "--set", "epochs=2", "--set", "image_size=48"]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices") / "synthetic"
    write_dataset(folder, per_class=20, size=96, seed=7)
    return folder


def test_the_main_job(stack: Stack, slices: Path) -> None:
    one = str(next((slices / "glioma").iterdir()))

    (refused,) = stack.rows("classify", one, expect=1)
    assert refused["error"]["status"] == "FAILED_PRECONDITION"

    (dataset,) = stack.rows("datasets", "upload", str(slices), "--name", "synthetic")
    assert dataset["name"] == "datasets/synthetic"
    assert dataset["item_count"] == 80

    events = stack.rows(
        "train", "--dataset", "synthetic", "--set", "weights=none", *RECIPE, "--watch"
    )
    assert sum(1 for e in events if e.get("event", e).get("epoch")) >= 2

    (version,) = stack.rows("models", "list")
    assert 0 <= version["evaluation"]["accuracy"] <= 1
    # It has hardly learned, and would be refused.
    reason = ("--force", "--reason", "two epochs from nothing")
    stack.rows("models", "promote", version["name"], *reason)

    answers = stack.rows("classify", str(slices))
    assert len(answers) == 80
    assert {a["model_version"] for a in answers} == {version["name"]}
    assert all(a["error"] is None for a in answers)

    rows = stack.rows("audit", "list", "--limit", "0")
    assert [r["prediction"] for r in rows[:80]]
    assert len(rows) == 81
    assert {a["prediction"] for a in answers} == {r["prediction"] for r in rows[:80]}
    assert stack.run("audit", "verify").returncode == 0


def test_data_survive_a_restart(stack: Stack, slices: Path) -> None:
    before = stack.rows("audit", "list", "--limit", "0")
    assert stack.stop() == 0
    stack.start()
    assert stack.rows("audit", "list", "--limit", "0") == before
    one = str(next((slices / "pituitary").iterdir()))
    (answer,) = stack.rows("classify", one)
    assert answer["error"] is None


def test_a_second_up_is_refused(stack: Stack) -> None:
    done = stack.run("up", "--data-dir", str(stack.data_dir), expect=1)
    assert "already" in (done.stdout + done.stderr)


def test_a_changed_audit_row_is_named(stack: Stack) -> None:
    with closing(sqlite3.connect(stack.data_dir / "braintumor.db")) as database, database:
        database.execute("UPDATE predictions SET label = 'glioma' WHERE sequence = 5")
        database.execute("UPDATE predictions SET label = 'pituitary' WHERE sequence = 6")
    done = stack.run("audit", "verify", expect=4)
    assert "5" in done.stdout + done.stderr or "6" in done.stdout + done.stderr


def test_one_ctrl_c_stops_everything(stack: Stack) -> None:
    assert stack.stop() == 0
