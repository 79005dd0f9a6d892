"""Maps of many slices are looked at one by one, so that they need not fit in memory together."""

import tracemalloc
from collections.abc import Iterator

import keras
import numpy as np
from numpy.typing import NDArray

from workers.learning.inference import MaskInference
from workers.learning.input_pipeline import Slices
from workers.learning.outlining import choose_rule
from workers.training_hooks import TrainingHooks

SIZE = 64
COUNT = 60


def some_slices(count: int = COUNT, size: int = SIZE) -> Slices:
    """Dark slices with a tumour: a square, whose probability is 0.65 in what finds it."""
    masks = np.zeros((count, size, size, 1), np.uint8)
    masks[:, 8:24, 8:24] = 255
    return Slices(pixels=masks // 2, labels=np.zeros(count, np.int64), masks=masks)


def maps_of(slices: Slices) -> Iterator[NDArray[np.float32]]:
    """0.65 in the tumour, 0.45 around it and 0.9 in a speck."""
    for number in range(len(slices)):
        map_ = np.full((SIZE, SIZE), 0.1, np.float32)
        map_[4:28, 4:28] = 0.45
        map_[8:24, 8:24] = 0.65
        map_[50, 40 + number % 3] = 0.9
        yield map_


def test_the_rule_parts_the_tumour_from_what_is_around_it_and_from_specks() -> None:
    rule = choose_rule(maps_of(some_slices()), some_slices())
    assert 0.45 < rule.threshold <= 0.65
    assert rule.smallest_share > 0


def test_a_rule_is_chosen_without_all_maps_at_once() -> None:
    slices = some_slices()
    tracemalloc.start()
    choose_rule(maps_of(slices), slices)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < COUNT * SIZE**2 * 4 / 2


def test_maps_are_made_batch_by_batch() -> None:
    batches: list[int] = []

    def count_a_batch() -> bool:
        batches.append(1)
        return False

    hooks = TrainingHooks(
        on_epoch=lambda _: None,
        on_progress=lambda _share, _stage: None,
        on_message=lambda _: None,
        should_stop=count_a_batch,
    )
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Rescaling(1 / 64, offset=-1.0)(inputs))

    maps = MaskInference(model, 4, hooks).maps(some_slices(9))
    first = next(maps)

    assert len(batches) == 1
    assert first.shape == (SIZE, SIZE)
    assert first[10, 10] > 0.7 > 0.3 > first[0, 0]
    assert len(list(maps)) == 8
    assert len(batches) == 3


def test_some_of_the_slices_share_their_pixels() -> None:
    slices = some_slices(6)
    numbered = slices.pixels + np.arange(6, dtype=np.uint8)[:, None, None, None]
    whole = Slices(pixels=numbered, labels=np.arange(6), places=np.arange(6)[::-1])

    some = whole.chosen(np.array([4, 0]))

    assert some.labels.tolist() == [4, 0]
    assert some.pixels_of(np.arange(2))[:, 0, 0, 0].tolist() == [1, 5]
    assert some.pixels is numbered
