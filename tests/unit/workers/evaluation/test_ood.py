"""Strange vectors are far, ordinary ones near, and the model survives its file."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from workers.evaluation.mahalanobis import fit_distance, shrunk_covariance
from workers.evaluation.ood import OodModel, fit, with_threshold
from workers.evaluation.ranking import auroc

WIDTH = 96
RNG = np.random.default_rng(2)
BASIS = RNG.normal(size=(12, WIDTH))
CENTRES = RNG.normal(size=(4, 12)) * 2 + 6


def features(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes in a few directions of many, with a little noise in all of them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    inside = CENTRES[labels] + rng.normal(size=(count, 12))
    return inside @ BASIS + rng.normal(size=(count, WIDTH)) * 0.5, labels


@pytest.fixture(scope="module")
def model() -> OodModel:
    return with_threshold(fit(*features(600, 0)), features(400, 1)[0])


def test_the_covariance_is_ledoit_and_wolfs() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 20)) @ np.diag(np.linspace(0.1, 3, 20))
    centred = rows - rows.mean(axis=0)

    expected = LedoitWolf(assume_centered=True).fit(centred).covariance_
    assert shrunk_covariance(centred) == pytest.approx(expected)


def test_training_vectors_are_at_distance_two() -> None:
    rows, labels = features(600, 0)
    distance = fit_distance(rows, labels, unit_length=True)

    assert distance.of(rows).mean() == pytest.approx(2, rel=0.01)
    assert distance.of(features(600, 1)[0]).mean() == pytest.approx(2, rel=0.4)


def test_strange_vectors_are_farther(model: OodModel) -> None:
    ordinary, strange = features(400, 3)[0], np.random.default_rng(4).normal(size=(200, WIDTH))

    assert auroc(model.score(strange), model.score(ordinary)) > 0.99
    assert model.strange(strange).mean() > 0.99
    assert model.strange(ordinary).mean() <= 0.03


def test_what_lies_between_the_classes_is_stranger_than_what_lies_in_one() -> None:
    rows, labels = features(600, 0)
    model = fit(rows, labels)
    outlying = (CENTRES.mean(axis=0) + 4 * (CENTRES[0] - CENTRES[1])) @ BASIS

    assert model.score(outlying[None])[0] > np.quantile(model.score(rows), 0.99)


@pytest.mark.parametrize(
    ("count", "share"), [(400, 0.01), (99, 0.01), (400, 0.0), (50, 0.1), (1, 0.01)]
)
def test_no_more_of_the_validation_slices_are_refused(count: int, share: float) -> None:
    rows = features(count, 5)[0]
    model = with_threshold(fit(*features(600, 0)), rows, refused_share=share, margin=1)

    assert model.strange(rows).sum() == int(share * count)


def test_a_margin_lets_through_what_is_a_little_farther() -> None:
    rows, fitted = features(400, 5)[0], fit(*features(600, 0))
    strict, lenient = with_threshold(fitted, rows, margin=1), with_threshold(fitted, rows, margin=2)

    assert lenient.threshold == 2 * strict.threshold
    assert lenient.strange(rows).sum() < strict.strange(rows).sum()


def test_before_a_threshold_nothing_is_strange() -> None:
    assert not fit(*features(100, 0)).strange(np.full((1, WIDTH), 1e9)).any()


def test_features_that_are_no_numbers_are_strange(model: OodModel) -> None:
    rows = features(2, 6)[0]
    rows[0, 3] = np.nan

    assert model.strange(rows).tolist() == [True, False]


def test_features_of_zeros_are_strange(model: OodModel) -> None:
    assert model.strange(np.zeros((1, WIDTH))).all()


@pytest.mark.parametrize(("count", "width"), [(4, 8), (40, 8), (20, 200)])
def test_few_slices_and_few_features_are_enough(count: int, width: int) -> None:
    rng = np.random.default_rng(7)
    rows, labels = rng.normal(size=(count, width)) + 5, np.arange(count) % 2
    model = with_threshold(fit(rows, labels), rng.normal(size=(50, width)) + 5)

    assert np.isfinite(model.score(rows)).all()
    assert model.strange(-10 * rng.normal(size=(20, width))).mean() > 0.5


@pytest.mark.parametrize(
    "rows",
    [np.ones((1, 8)), np.ones((5, 8)), np.full((5, 8), np.nan), np.ones(8), np.ones((4, 8))],
)
def test_degenerate_features_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError):
        fit(rows, np.arange(5) % 2)


def test_it_survives_its_file(model: OodModel) -> None:
    data = model.to_bytes()
    back = OodModel.from_bytes(data)
    rows = features(50, 10)[0]

    assert (back.score(rows) == model.score(rows)).all()
    assert back.threshold == model.threshold
    assert back.to_bytes() == data


def test_the_file_is_small_and_plain() -> None:
    rng = np.random.default_rng(0)
    model = fit(rng.random((300, 2048)), np.arange(300) % 4)
    data = model.to_bytes()

    assert len(data) < 1_000_000
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        kinds = {file[name].dtype.name for name in file.files}
    assert kinds == {"float32", "float64"}


def damaged(model: OodModel) -> list[bytes]:
    distance = model.distance
    buffer = io.BytesIO()
    pickled = {"centre": np.array([{}])}
    np.savez(buffer, **pickled)  # type: ignore[arg-type] # NumPy's stub takes them for a flag
    return [
        b"",
        b"no zip",
        model.to_bytes()[:-200],
        buffer.getvalue(),
        replace(model, threshold=0.5).to_bytes().replace(b"threshold", b"threshole"),
        replace(model, distance=replace(distance, centre=distance.centre[:-1])).to_bytes(),
        replace(model, distance=replace(distance, typical=distance.typical * np.nan)).to_bytes(),
        replace(model, distance=replace(distance, components=distance.centre)).to_bytes(),
    ]


def test_damaged_files_are_refused(model: OodModel) -> None:
    for data in damaged(model):
        with pytest.raises(ValueError, match="cannot be read"):
            OodModel.from_bytes(data)


def test_serving_needs_nothing_but_numpy_for_it() -> None:
    script = "import workers.evaluation.ood, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert {"sklearn", "scipy", "tensorflow", "matplotlib"} & set(done.stdout.split()) == set()
