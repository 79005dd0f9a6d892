"""How a job reads its slices, and how it says how far it is."""

from collections.abc import Sequence
from typing import Final

from core.datasets import DatasetItem
from core.ports import ArtefactStore
from core.training import Task, TrainingSpec
from workers.imaging.decode import ImageLimits
from workers.learning.inference import stop_if_told
from workers.learning.input_pipeline import DecodedSet, load_slices
from workers.training_hooks import TrainingHooks

READ_UNTIL: Final = 0.05
TRAINED_AT: Final = 0.95
"""Shares of a job's progress: reading slices, then training, then checking and exporting."""
PARITY_SLICES: Final = 16
"""How many slices the exported graph is compared with Keras on."""


def stage(hooks: TrainingHooks, share: float, name: str) -> None:
    """Tell the job's stage. Raises ``TrainingCancelled``."""
    stop_if_told(hooks)
    hooks.on_progress(share, name)


def learns_from_masks(items: Sequence[DatasetItem], spec: TrainingSpec) -> bool:
    """Whether a job by this recipe makes use of the masks of these slices."""
    has_masks = any(item.mask_sha256 is not None for item in items)
    return spec.task is Task.SEGMENTATION or (has_masks and wants_masks(spec))


def wants_masks(spec: TrainingSpec) -> bool:
    """Whether a classifier by this recipe learns from masks, where there are some."""
    return spec.guidance > 0 or (spec.augmentation and spec.counterfactuals > 0)


def read_slices(
    items: Sequence[DatasetItem],
    spec: TrainingSpec,
    hooks: TrainingHooks,
    store: ArtefactStore,
    limits: ImageLimits,
) -> DecodedSet:
    """Decode the slices, for as long a part of the job as ``READ_UNTIL``.

    With their masks where these are to be learned.
    """
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        stage(hooks, READ_UNTIL * done / len(items), "reading slices")

    with_masks = learns_from_masks(items, spec)
    slices = load_slices(items, store, spec.image_size, limits, one_more, with_masks=with_masks)
    return DecodedSet(items, slices)
