"""Masks draw a classifier's evidence to the tumour."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from core.labels import LABELS, TumourLabel
from core.settings import Settings
from core.training import Task, TrainingSpec
from tests.fakes.learning import SIZE, SPEC, use_tiny_network
from tests.fakes.records import an_item
from tests.fakes.store import FakeArtefactStore
from workers.learning.checkpoints import Checkpoints
from workers.learning.classifier import with_explanation
from workers.learning.fitting import fit
from workers.learning.input_pipeline import Slices, guided_batches
from workers.learning.objective import evidence_astray
from workers.learning.reading import learns_from_masks
from workers.training_hooks import TrainingHooks

QUIET = TrainingHooks(
    on_epoch=lambda _epoch: None,
    on_progress=lambda _share, _stage: None,
    on_message=lambda _message: None,
    should_stop=lambda: False,
)
BLOB = 4


def blobs(count: int, seed: int = 0) -> Slices:
    """Noise with a square at some place, whose shade is the class; the last class has none.

    Every slice has a bright corner, which a network could use to carry anything.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (count, SIZE, SIZE, 1)).astype(np.uint8)
    masks = np.zeros_like(pixels)
    labels = np.arange(count) % len(LABELS)
    for number, label in enumerate(labels):
        pixels[number, :2, :2] = 250
        if label < len(LABELS) - 1:
            y, x = rng.integers(3, SIZE - BLOB, 2)
            pixels[number, y : y + BLOB, x : x + BLOB] = 90 + 70 * label
            masks[number, y : y + BLOB, x : x + BLOB] = 255
    return Slices(pixels=pixels, labels=labels, masks=masks)


def places(slices: Slices, spec: TrainingSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and places of the first batch."""
    (_, (targets, found)) = next(iter(guided_batches(slices, spec, 0, SIZE)))
    return targets.numpy(), found.numpy()


@pytest.mark.parametrize("augmentation", [True, False])
def test_places_add_up_to_one_in_the_channel_of_the_label(augmentation: bool) -> None:
    targets, found = places(blobs(8), replace(SPEC, augmentation=augmentation))

    assert found.shape == (8, SIZE, SIZE, len(LABELS))
    expected = targets.copy()
    expected[:, -1] = 0
    np.testing.assert_allclose(found.sum(axis=(1, 2)), expected, atol=1e-4)


def test_mixed_slices_have_the_places_of_both() -> None:
    targets, found = places(blobs(8), replace(SPEC, augmentation=False, mixup=1.0))

    assert targets.max() < 1
    expected = targets.copy()
    expected[:, -1] = 0
    np.testing.assert_allclose(found.sum(axis=(1, 2)), expected, atol=1e-4)


def test_evidence_costs_by_how_far_it_is_from_the_mask() -> None:
    wanted = np.zeros((3, 8, 8, len(LABELS)), np.float32)
    wanted[:2, 4:6, 2:4, 1] = 1 / 4
    evidence = np.zeros((3, 4, 4, len(LABELS)), np.float32)
    evidence[0, 2, 1, 1] = evidence[1, 0, 3, 1] = 20

    inside, outside, no_mask = evidence_astray(tf.constant(evidence), tf.constant(wanted)).numpy()

    assert inside == pytest.approx(0, abs=1e-4)
    assert outside == pytest.approx(20, abs=1e-3)
    assert no_mask == 0


def test_masks_are_read_where_something_learns_from_them() -> None:
    masked = [an_item("a.png", mask_sha256="m" * 64), an_item("b.png")]
    assert learns_from_masks(masked, SPEC)
    assert not learns_from_masks(masked[1:], SPEC)
    assert not learns_from_masks(masked, replace(SPEC, guidance=0.0))
    given = replace(SPEC, guidance=0.0, counterfactuals=0.5)
    assert learns_from_masks(masked, given)
    assert not learns_from_masks(masked, replace(given, augmentation=False))
    assert learns_from_masks(masked, replace(SPEC, guidance=0.0, task=Task.SEGMENTATION))


def heads(count: int) -> Slices:
    """Even grey; every other slice has a meningioma on the left, which could be anybody's."""
    pixels = np.full((count, SIZE, SIZE, 1), 90, np.uint8)
    masks = np.zeros_like(pixels)
    pixels[::2, 5:9, 3:6] = 200
    masks[::2, 5:9, 3:6] = 255
    healthy = LABELS.index(TumourLabel.NO_TUMOR)
    labels = np.where(np.arange(count) % 2, healthy, LABELS.index(TumourLabel.MENINGIOMA))
    return Slices(pixels=pixels, labels=labels, masks=masks)


def tumours_and_masks(spec: TrainingSpec) -> tuple[int, int]:
    """How many slices of an epoch are said to have a tumour, and how many have a place for it."""
    spec = replace(spec, label_smoothing=0.0, mixup=0.0, batch_size=8)
    targets = [t for _, t in guided_batches(heads(160), spec, 0, SIZE)]
    answers = np.concatenate([answer.numpy() for answer, _ in targets])
    found = np.concatenate([places.numpy() for _, places in targets])
    meningioma = LABELS.index(TumourLabel.MENINGIOMA)
    assert found[..., [n for n in range(len(LABELS)) if n != meningioma]].max() == 0
    return int(answers[:, meningioma].sum()), int((found.max(axis=(1, 2, 3)) > 0).sum())


def test_tumours_come_and_go_with_their_targets() -> None:
    only_taken_and_given = replace(SPEC, counterfactuals=0.5)
    tumours, places = tumours_and_masks(only_taken_and_given)
    assert tumours == places
    order = np.random.default_rng((SPEC.seed, 0)).permutation(160)
    was = heads(160).labels[order] == LABELS.index(TumourLabel.MENINGIOMA)
    (_, (answers, _)) = next(
        iter(guided_batches(heads(160), replace(only_taken_and_given, batch_size=160), 0, SIZE))
    )
    now = answers.numpy().argmax(axis=1) == LABELS.index(TumourLabel.MENINGIOMA)
    assert 0.2 < (was & ~now).sum() / was.sum() < 0.8
    assert 0.2 < (~was & now).sum() / (~was).sum() < 0.8


@pytest.mark.parametrize("change", [{"counterfactuals": 0.0}, {"augmentation": False}])
def test_slices_keep_their_label_without(change: dict[str, Any]) -> None:
    assert tumours_and_masks(replace(SPEC, **{"counterfactuals": 0.5} | change)) == (80, 80)


def pointing(slices: Slices, guidance: float) -> float:
    """Train; how often the strongest evidence for a tumour's class lies in it, 0..1."""
    spec = replace(SPEC, epochs=12, guidance=guidance, augmentation=False)
    given = slices if guidance else replace(slices, masks=None)
    checkpoints = Checkpoints(FakeArtefactStore(), "job")
    settings = Settings.from_environment({})
    fitted = fit(spec, given, given, checkpoints=checkpoints, settings=settings, hooks=QUIET)
    _, evidence, _ = with_explanation(fitted.model)(slices.pixels.astype(np.float32))
    hits = []
    for number, label in enumerate(slices.labels):
        if label < len(LABELS) - 1:
            map_ = np.asarray(evidence)[number, :, :, label]
            y, x = np.unravel_index(map_.argmax(), map_.shape)
            assert slices.masks is not None
            scale = SIZE // len(map_)
            hits.append(slices.masks[number, y * scale : (y + 1) * scale, x * scale].any())
    return float(np.mean(hits))


def test_a_guided_classifier_points_at_the_tumour(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)
    slices = blobs(64)

    assert pointing(slices, 1.0) > max(0.8, pointing(slices, 0.0))
