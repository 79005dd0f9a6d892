"""From a data set's items to batches of pixels."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.datasets import DatasetItem
from core.errors import ImageRefused, TrainingFailed
from core.labels import LABELS, TumourLabel
from core.ports import ArtefactStore
from core.training import TrainingSpec
from workers.curation.blobs import read_blob
from workers.imaging.blank import is_blank
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.masks import decode_mask, prepare_mask
from workers.imaging.preprocess import SquareGeometry, prepare
from workers.learning.augmentation import FAR, Batch, augment, augment_with_masks, mix
from workers.learning.counterfactuals import change_some
from workers.learning.memory import GIB, available_memory

_DECODERS: Final = 2
_MEMORY_SHARE: Final = 0.25
"""Decoded slices may take this share of the free memory; more of them go to a file."""


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Decoded slices: ``pixels`` (m, size, size, 1) of 0..255, ``labels`` (n,) into ``LABELS``.

    ``masks`` has, where they were asked for, the share of each pixel that is tumour: as ``pixels``,
    0..255. ``places`` (n,) says where in these each slice is; without it they are in order.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8] | None = None
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def pixels_of(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels of the slices of these numbers, 0..n-1."""
        return self.pixels[chosen if self.places is None else self.places[chosen]]

    def masks_of(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Masks of the slices of these numbers. Raises ``ValueError`` if there are none."""
        if self.masks is None:
            raise ValueError("these slices were decoded without their masks")
        return self.masks[chosen if self.places is None else self.places[chosen]]

    def chosen(self, numbers: NDArray[np.int64]) -> "Slices":
        """The slices of these numbers; their pixels are shared, not copied."""
        places = numbers if self.places is None else self.places[numbers]
        return Slices(
            pixels=self.pixels, labels=self.labels[numbers], masks=self.masks, places=places
        )


class DecodedSet:
    """A data set's slices, decoded once, to be had by their items."""

    def __init__(self, items: Sequence[DatasetItem], slices: Slices) -> None:
        self._slices = slices
        self._places = {item.path: place for place, item in enumerate(items)}

    def slices(self, items: Sequence[DatasetItem]) -> Slices:
        """The items' slices, in their order; their pixels are shared, not copied."""
        places = np.array([self._places[item.path] for item in items], np.int64)
        whole = self._slices
        return Slices(
            pixels=whole.pixels, labels=whole.labels[places], masks=whole.masks, places=places
        )

    def labels(self, items: Sequence[DatasetItem]) -> NDArray[np.int64]:
        """The items' labels, in their order: (n,)."""
        return self._slices.labels[[self._places[item.path] for item in items]]


def load_slices(
    items: Sequence[DatasetItem],
    store: ArtefactStore,
    size: int,
    limits: ImageLimits,
    on_slice: Callable[[], None],
    *,
    with_masks: bool = False,
) -> Slices:
    """Decode each slice once, as serving would. ``on_slice`` is called after each.

    With masks, each goes where its slice does; a slice without one has an empty mask.

    Raises ``TrainingFailed`` if they fit neither in memory nor in the folder for temporary
    files, if one is above the limits now, or if a class shows nothing; ``ArtefactCorrupt`` if one
    was changed, and whatever ``on_slice`` raises.
    """
    pixels = allocate_pixels(len(items), size, available_memory())
    masks = allocate_pixels(len(items), size, available_memory()) if with_masks else None
    shown: set[TumourLabel] = set()

    def load(numbered: tuple[int, DatasetItem]) -> TumourLabel | None:
        number, item = numbered
        grey = _grey(item, store, limits)
        prepared = prepare(grey, size)
        pixels[number] = prepared.pixels
        if masks is not None:
            masks[number] = _mask(item, store, limits, prepared.geometry, size)
        return None if is_blank(grey) else item.label

    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        try:
            for label in pool.map(load, enumerate(items)):
                shown |= {label} if label else set()
                on_slice()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _check_shown({item.label for item in items}, shown)
    labels = np.array([LABELS.index(item.label) for item in items], np.int64)
    return Slices(pixels=pixels, labels=labels, masks=masks)


def _mask(
    item: DatasetItem,
    store: ArtefactStore,
    limits: ImageLimits,
    geometry: SquareGeometry,
    size: int,
) -> NDArray[np.uint8]:
    if item.mask_sha256 is None:
        return np.zeros((size, size, 1), np.uint8)
    mask = decode_mask(read_blob(store, item.mask_sha256), limits)
    return prepare_mask(mask, geometry, size)


def _grey(item: DatasetItem, store: ArtefactStore, limits: ImageLimits) -> NDArray[np.uint8]:
    data = read_blob(store, item.sha256)
    try:
        return decode_grey(data, limits)
    except ImageRefused as exc:  # it was decoded when the data set came in
        raise TrainingFailed(
            f"The slice {item.path} was accepted under other limits than the training worker has: "
            f"{exc.message} Ask the operator to raise them, or upload the data set without it."
        ) from exc


def _check_shown(labels: set[TumourLabel], shown: set[TumourLabel]) -> None:
    """A model would learn of the others that they are the ones with something to see."""
    if blank := sorted(labels - shown):
        raise TrainingFailed(
            f"All slices of {', '.join(blank)} are blank: one shade all over, such as black. "
            "Nothing can be learned from them. Check how they were exported, then upload the data "
            "set again."
        )


def allocate_pixels(count: int, size: int, memory: int) -> NDArray[np.uint8]:
    """Room for ``count`` slices: in memory, or in a temporary file when that would be too much.

    ``memory`` is what is free, in bytes. The file has no name, so that it goes with the process
    however that ends.
    """
    shape, needed = (count, size, size, 1), count * size * size
    if needed <= memory * _MEMORY_SHARE:
        return np.empty(shape, np.uint8)
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise TrainingFailed(
            f"{count} slices of {size} x {size} pixels need {needed / GIB:.1f} GiB; "
            f"{memory / GIB:.1f} GiB of memory and {free / GIB:.1f} GiB of {folder} are free. "
            "Lower image_size, set TMPDIR to a larger disk, or use a larger machine."
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, mode="w+", shape=shape)


def steps_per_epoch(count: int, batch_size: int) -> int:
    return math.ceil(count / batch_size)


def training_batches(slices: Slices, spec: TrainingSpec, epoch: int, size: int) -> tf.data.Dataset:
    """Shuffled batches of one epoch: float32 pixels of that size, targets (n, classes).

    Augmented, mixed and smoothed as the recipe has it. The same for the same seed and epoch;
    ``epoch`` counts from 0.
    """
    order = np.random.default_rng((spec.seed, epoch)).permutation(len(slices))
    mixed = _mixes(spec, epoch)

    def prepared(step: tf.Tensor, batch: Batch) -> Batch:
        seeds = tf.unstack(tf.random.split(_seed(spec.seed, epoch, step), 2))
        images, targets = _resized(batch[0], size), _targets(batch[1], spec.label_smoothing)
        if spec.augmentation:
            images = augment(images, seeds[0])
        return mix(images, targets, spec.mixup, seeds[1]) if mixed else (images, targets)

    data = _batches(slices, spec.batch_size, order).enumerate()
    return _ahead(data, prepared)


def guided_batches(slices: Slices, spec: TrainingSpec, epoch: int, size: int) -> tf.data.Dataset:
    """As :func:`training_batches`, with two targets: theirs, and where the evidence should be.

    The second, (n, size, size, classes), is the tumour's share of each pixel in the channel of its
    label, all adding up to 1; 0 everywhere in a slice without a mask. Mixed slices have both. Some
    slices are given a tumour, or lose theirs, as the recipe has it.
    """
    order = np.random.default_rng((spec.seed, epoch)).permutation(len(slices))
    mixed = _mixes(spec, epoch)

    def prepared(step: tf.Tensor, batch: tuple[Batch, tf.Tensor]) -> tuple[tf.Tensor, Any]:
        seeds = tf.unstack(tf.random.split(_seed(spec.seed, epoch, step), 3))
        masked, labels = batch
        images, masks = (_resized(part, size) for part in masked)
        if spec.augmentation and spec.counterfactuals:
            images, masks, labels = change_some(
                images, masks, labels, spec.counterfactuals, seeds[2]
            )
        if spec.augmentation:
            images, masks = augment_with_masks(images, masks, seeds[0])
        targets = (_targets(labels, spec.label_smoothing), _places(masks, labels))
        return mix(images, targets, spec.mixup, seeds[1]) if mixed else (images, targets)

    pixels = _masked_batches(slices, spec.batch_size, order)
    labels = tf.data.Dataset.from_tensor_slices(slices.labels[order]).batch(spec.batch_size)
    data = tf.data.Dataset.zip(pixels, labels).enumerate()
    return _ahead(data, prepared)


def _mixes(spec: TrainingSpec, epoch: int) -> bool:
    return spec.mixup > 0 and epoch < round(spec.mixup_share * spec.epochs)


def _places(masks: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    shares = tf.math.divide_no_nan(masks, tf.reduce_sum(masks, axis=(1, 2), keepdims=True))
    return shares * tf.one_hot(labels, len(LABELS))[:, None, None, :]


def mask_batches(slices: Slices, spec: TrainingSpec, epoch: int, size: int) -> tf.data.Dataset:
    """As :func:`training_batches`, with masks (n, size, size, 1) of 0..1 for targets.

    What mixes slices or smooths targets does not apply to masks.
    """
    order = np.random.default_rng((spec.seed, epoch)).permutation(len(slices))

    def prepared(step: tf.Tensor, batch: Batch) -> Batch:
        images, masks = (_resized(part, size) for part in batch)
        if spec.augmentation:
            seed = _seed(spec.seed, epoch, step)
            images, masks = augment_with_masks(images, masks, seed, FAR)
        return images, tf.clip_by_value(masks, 0.0, 1.0)

    data = _masked_batches(slices, spec.batch_size, order).enumerate()
    return _ahead(data, prepared)


def _ahead(data: tf.data.Dataset, change: Callable[..., Any]) -> tf.data.Dataset:
    """Batches that are changed by several threads, in order and before they are asked for."""
    changed = data.map(_as_written(change), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return changed.prefetch(tf.data.AUTOTUNE)


def _as_written(change: Callable[..., Any]) -> Callable[..., Any]:
    """Without AutoGraph, which would rewrite it for each epoch: no branch in it asks a tensor."""
    same: Callable[..., Any] = tf.autograph.experimental.do_not_convert(change)
    return same


def _resized(images: tf.Tensor, size: int) -> tf.Tensor:
    if images.shape[1] == size:
        return images
    return tf.image.resize(images, (size, size), antialias=True)


def _targets(labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """One-hot, with a share of it spread over all classes (Szegedy et al., CVPR 2016)."""
    certain = tf.one_hot(labels, len(LABELS))
    return certain * (1 - smoothing) + smoothing / len(LABELS)


def plain_batches(slices: Slices, batch_size: int) -> tf.data.Dataset:
    """Batches in order, unchanged."""
    return _batches(slices, batch_size, np.arange(len(slices))).prefetch(tf.data.AUTOTUNE)


def harder_batches(slices: Slices, batch_size: int) -> tf.data.Dataset:
    """Batches in order, each slice changed twice over: further than training changes any.

    Always in the same ways.
    """

    def changed(number: tf.Tensor, batch: Batch) -> Batch:
        seeds = tf.unstack(tf.random.split(_seed(0, 0, number), 2))
        return augment(augment(batch[0], seeds[0]), seeds[1]), batch[1]

    data = _batches(slices, batch_size, np.arange(len(slices))).enumerate()
    return _ahead(data, changed)


def plain_mask_batches(slices: Slices, batch_size: int) -> tf.data.Dataset:
    """Batches in order, unchanged, with masks of 0..1."""
    order = np.arange(len(slices))
    return _masked_batches(slices, batch_size, order).prefetch(tf.data.AUTOTUNE)


def _seed(seed: int, epoch: int, step: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(seed, tf.int64), epoch * 2**32 + step])


def _batches(slices: Slices, batch_size: int, order: NDArray[np.int64]) -> tf.data.Dataset:
    """Pixels and labels."""
    data = _gathered(
        slices,
        batch_size,
        order,
        lambda chosen: slices.labels[chosen],
        tf.TensorSpec((None,), tf.int64),
    )
    return data.map(_as_written(lambda pixels, labels: (tf.cast(pixels, tf.float32), labels)))


def _masked_batches(slices: Slices, batch_size: int, order: NDArray[np.int64]) -> tf.data.Dataset:
    """Pixels and masks, 0..1."""
    side = slices.pixels.shape[1]
    masks = tf.TensorSpec((None, side, side, 1), tf.uint8)
    data = _gathered(slices, batch_size, order, slices.masks_of, masks)
    return data.map(
        _as_written(
            lambda pixels, masks: (tf.cast(pixels, tf.float32), tf.cast(masks, tf.float32) / 255)
        )
    )


def _gathered(
    slices: Slices,
    batch_size: int,
    order: NDArray[np.int64],
    targets_of: Callable[[NDArray[np.int64]], NDArray[Any]],
    targets: tf.TensorSpec,
) -> tf.data.Dataset:
    """Gathered from the arrays batch by batch: TensorFlow never copies all of them."""
    side = slices.pixels.shape[1]

    def generate() -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield slices.pixels_of(chosen), targets_of(chosen)

    signature = (tf.TensorSpec((None, side, side, 1), tf.uint8), targets)
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    steps = steps_per_epoch(len(order), batch_size)
    return data.apply(tf.data.experimental.assert_cardinality(steps))
