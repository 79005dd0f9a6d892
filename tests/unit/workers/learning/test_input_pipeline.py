"""Slices are decoded once, as serving would, and come in an order that the seed decides."""

import io
import shutil
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from core.datasets import DatasetItem
from core.errors import ArtefactCorrupt, TrainingCancelled, TrainingFailed
from core.labels import LABELS, TumourLabel
from tests.fakes.learning import SIZE, SPEC, slice_of, some_slices
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import blob_key, write_blob
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import prepare
from workers.learning import augmentation, input_pipeline
from workers.learning.input_pipeline import (
    Slices,
    allocate_pixels,
    guided_batches,
    harder_batches,
    load_slices,
    mask_batches,
    plain_batches,
    steps_per_epoch,
    training_batches,
)

LIMITS = ImageLimits(max_bytes=10_000, max_pixels=10_000)


class DiskUsage(NamedTuple):
    """What ``shutil.disk_usage`` gives, in bytes."""

    total: int
    used: int
    free: int


@pytest.fixture
def store() -> FakeArtefactStore:
    return FakeArtefactStore()


def put(store: FakeArtefactStore, label: TumourLabel, seed: int) -> DatasetItem:
    buffer = io.BytesIO()
    grey = slice_of(LABELS.index(label), 40, np.random.default_rng(seed))[:30]
    Image.fromarray(grey).save(buffer, format="PNG")
    data = buffer.getvalue()
    return DatasetItem(
        path=f"{label}/{seed}.png",
        sha256=write_blob(store, data),
        size_bytes=len(data),
        label=label,
        width=40,
        height=30,
    )


def test_slices_are_what_serving_would_see(store: FakeArtefactStore) -> None:
    items = [put(store, TumourLabel.PITUITARY, 1), put(store, TumourLabel.GLIOMA, 2)]
    seen = []

    slices = load_slices(items, store, 24, LIMITS, lambda: seen.append(1))

    assert slices.pixels.shape == (2, 24, 24, 1)
    assert list(slices.labels) == [3, 0]
    assert len(seen) == 2
    for item, pixels in zip(items, slices.pixels, strict=True):
        served = prepare(decode_grey(store.get(blob_key(item.sha256)), LIMITS), 24)
        np.testing.assert_array_equal(pixels.astype(np.float32), served.pixels)


def test_a_changed_picture_is_refused(store: FakeArtefactStore) -> None:
    item = put(store, TumourLabel.GLIOMA, 1)
    store.put(blob_key(item.sha256), b"something else")

    with pytest.raises(ArtefactCorrupt):
        load_slices([item], store, 24, LIMITS, lambda: None)


def test_decoding_stops_when_told(store: FakeArtefactStore) -> None:
    items = [put(store, TumourLabel.GLIOMA, seed) for seed in range(5)]

    def stop() -> None:
        raise TrainingCancelled()

    with pytest.raises(TrainingCancelled):
        load_slices(items, store, 24, LIMITS, stop)


def put_blank(store: FakeArtefactStore, label: TumourLabel, shade: int) -> DatasetItem:
    buffer = io.BytesIO()
    Image.fromarray(np.full((30, 40), shade, np.uint8)).save(buffer, format="PNG")
    sha256 = write_blob(store, buffer.getvalue())
    return replace(put(store, label, 1), path=f"{label}/{shade}.png", sha256=sha256)


def test_a_class_that_shows_nothing_is_refused_by_name(store: FakeArtefactStore) -> None:
    blank = [put_blank(store, TumourLabel.NO_TUMOR, shade) for shade in (0, 90)]
    items = [put(store, TumourLabel.GLIOMA, 1), *blank]

    with pytest.raises(TrainingFailed, match="All slices of no_tumor are blank"):
        load_slices(items, store, 24, LIMITS, lambda: None)

    seen = [*items, put(store, TumourLabel.NO_TUMOR, 2)]
    assert len(load_slices(seen, store, 24, LIMITS, lambda: None)) == 4


def test_a_slice_above_the_limits_of_now_is_named(store: FakeArtefactStore) -> None:
    items = [put(store, TumourLabel.GLIOMA, 1)]
    limits = replace(LIMITS, max_pixels=100)

    with pytest.raises(TrainingFailed, match=r"glioma/1\.png .* at most 100 .* Ask the operator"):
        load_slices(items, store, 24, limits, lambda: None)


def test_few_slices_stay_in_memory() -> None:
    pixels = allocate_pixels(3, 8, memory=2**20)

    assert type(pixels) is np.ndarray
    assert pixels.shape == (3, 8, 8, 1)


def test_many_slices_go_to_a_file_without_a_name() -> None:
    pixels = allocate_pixels(3, 8, memory=3 * 64)
    pixels[1] = 7

    assert isinstance(pixels, np.memmap)
    assert pixels.sum() == 7 * 64


def test_too_many_slices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(total=100, used=0, free=100))

    with pytest.raises(TrainingFailed, match="Lower image_size"):
        allocate_pixels(3, 8, memory=100)


def test_an_epoch_has_every_slice_once() -> None:
    slices = some_slices(5)  # 20 slices: the last batch is smaller

    batches = list(training_batches(slices, replace(SPEC, augmentation=False), 0, SIZE))

    assert [len(targets) for _, targets in batches] == [8, 8, 4]
    assert steps_per_epoch(20, 8) == len(batches)
    pixels = np.concatenate([batch.numpy() for batch, _ in batches])
    assert pixels.dtype == np.float32
    order = [
        int(np.flatnonzero((slices.pixels == p.astype(np.uint8)).all((1, 2, 3)))[0]) for p in pixels
    ]
    assert sorted(order) == list(range(20))
    targets = np.concatenate([batch.numpy() for _, batch in batches])
    np.testing.assert_array_equal(targets, np.eye(len(LABELS))[slices.labels[order]])


@pytest.mark.parametrize("augmentation", [True, False])
def test_seed_and_epoch_decide_everything(augmentation: bool) -> None:
    slices, spec = some_slices(5), replace(SPEC, augmentation=augmentation)

    def pixels(seed: int, epoch: int) -> np.ndarray:
        data = training_batches(slices, replace(spec, seed=seed), epoch, SIZE)
        return np.concatenate([batch.numpy() for batch, _ in data])

    np.testing.assert_array_equal(pixels(1, 0), pixels(1, 0))
    assert (pixels(1, 0) != pixels(1, 1)).any()
    assert (pixels(1, 0) != pixels(2, 0)).any()


def test_batches_of_an_epoch_are_augmented_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    first = some_slices(1)
    same = input_pipeline.Slices(
        pixels=np.repeat(first.pixels[:1], 16, axis=0), labels=np.zeros(16, np.int64)
    )

    one, two = (batch.numpy() for batch, _ in training_batches(same, SPEC, 0, SIZE))

    assert (one != two).any()


def test_outlines_alone_are_learned_from_slices_that_are_moved_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[augmentation.Reach] = []

    def noted(images: Any, _seed: Any, reach: augmentation.Reach = augmentation.NEAR) -> Any:
        asked.append(reach)
        return images

    monkeypatch.setattr(augmentation, "move", noted)
    slices = some_slices(4)
    slices = replace(slices, masks=np.zeros_like(slices.pixels))
    mask_batches(slices, SPEC, 0, SIZE)
    guided_batches(slices, SPEC, 0, SIZE)
    training_batches(slices, SPEC, 0, SIZE)
    assert asked == [augmentation.FAR, augmentation.NEAR, augmentation.NEAR]


def test_plain_batches_are_in_order_and_unchanged() -> None:
    slices = some_slices(3)

    batches = list(plain_batches(slices, 5))

    pixels = np.concatenate([batch.numpy() for batch, _ in batches])
    np.testing.assert_array_equal(pixels, slices.pixels)
    assert pixels.shape == (12, SIZE, SIZE, 1)


def test_harder_batches_change_each_slice_in_its_own_way_and_always_alike() -> None:
    slices = some_slices(7)

    batches = list(harder_batches(slices, 5))
    again = list(harder_batches(slices, 5))

    pixels = np.concatenate([batch.numpy() for batch, _ in batches])
    assert pixels.shape == slices.pixels.shape
    assert (np.concatenate([labels.numpy() for _, labels in batches]) == slices.labels).all()
    assert (pixels == np.concatenate([batch.numpy() for batch, _ in again])).all()
    changes = np.abs(pixels - slices.pixels).mean(axis=(1, 2, 3))
    assert changes.min() > 1
    assert len(np.unique(changes)) == len(slices)


def test_early_epochs_see_smaller_pictures() -> None:
    (images, _) = next(iter(training_batches(some_slices(2), SPEC, 0, SIZE // 2)))

    assert images.shape == (8, SIZE // 2, SIZE // 2, 1)


def test_smoothing_takes_its_share_from_the_right_class() -> None:
    spec = replace(SPEC, augmentation=False, label_smoothing=0.2)

    (_, targets) = next(iter(training_batches(some_slices(2), spec, 0, SIZE)))

    np.testing.assert_allclose(targets.numpy().max(axis=1), 0.85, rtol=1e-6)
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(("share", "mixing"), [(0.0, 0), (0.6, 3), (1.0, 5)])
def test_the_last_epochs_see_slices_as_they_are(share: float, mixing: int) -> None:
    spec = replace(SPEC, augmentation=False, mixup=1.0, mixup_share=share, epochs=5)

    def certain(epoch: int) -> bool:
        (_, targets) = next(iter(training_batches(some_slices(5), spec, epoch, SIZE)))
        return bool((targets.numpy().max(axis=1) == 1).all())

    assert [certain(epoch) for epoch in range(5)] == [False] * mixing + [True] * (5 - mixing)


def test_mixup_mixes_pictures_and_targets_alike() -> None:
    flat = Slices(
        pixels=np.repeat([0, 200], 4).astype(np.uint8).reshape(8, 1, 1, 1)
        * np.ones((1, SIZE, SIZE, 1), np.uint8),
        labels=np.repeat([0, 1], 4),
    )
    spec = replace(SPEC, augmentation=False, mixup=1.0)

    (images, targets) = next(iter(training_batches(flat, spec, 0, SIZE)))

    shown = images.numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(shown, targets.numpy()[:, 1] * 200, rtol=1e-6)
    assert ((targets.numpy() > 0) & (targets.numpy() < 1)).any()
