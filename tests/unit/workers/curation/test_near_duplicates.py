"""Copies of a slice are found whatever was done to the file; other slices are not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fakes.slices import a_head, framed, jpeg, resized
from workers.curation import near_duplicates
from workers.curation.looks import look_at
from workers.curation.near_duplicates import (
    MAX_EXAMPLES,
    NearDuplicates,
    find_near_duplicates,
    head_crop,
    perceptual_hash,
    thumbnail,
)
from workers.imaging.decode import ImageLimits, decode_grey

LIMITS = ImageLimits(max_bytes=1 << 24, max_pixels=1 << 24)
Grey = NDArray[np.uint8]


def reencoded(grey: Grey) -> Grey:
    return decode_grey(jpeg(grey, quality=40), LIMITS)


def brighter(grey: Grey) -> Grey:
    return np.asarray(np.clip(grey * 1.15, 0, 255), np.uint8)


def search(pictures: list[Grey], labels: list[int] | None = None) -> NearDuplicates:
    thumbnails = np.array([thumbnail(picture) for picture in pictures])
    hashes = np.array([perceptual_hash(small) for small in thumbnails], np.uint64)
    return find_near_duplicates(
        hashes, thumbnails, np.array(labels or [0] * len(pictures), np.int64)
    )


@pytest.mark.parametrize(
    "copied",
    [
        reencoded,
        brighter,
        lambda grey: resized(grey, 256),
        lambda grey: resized(grey, 77),
        lambda grey: framed(grey, 60, 10),
        lambda grey: reencoded(framed(resized(grey, 200), 0, 90)),
    ],
    ids=["re-encoded", "brighter", "larger", "smaller", "framed", "all of it"],
)
def test_a_copy_is_found(copied: object) -> None:
    assert callable(copied)
    pictures = [a_head(seed) for seed in range(6)]
    found = search([*pictures, copied(pictures[3])])
    assert [(pair.first, pair.second) for pair in found.examples] == [(3, 6)]
    assert found.pair_count == 1
    assert found.examples[0].similarity >= 0.97
    assert found.components[3] == found.components[6]
    assert len(set(found.components.tolist())) == 6


def test_different_slices_are_left_alone() -> None:
    found = search([a_head(seed) for seed in range(200)])
    assert (found.pair_count, found.examples) == (0, ())
    assert len(set(found.components.tolist())) == 200


def test_a_hash_alone_is_not_believed() -> None:
    thumbnails = np.array([thumbnail(a_head(seed)) for seed in range(2)])
    found = find_near_duplicates(np.zeros(2, np.uint64), thumbnails, np.zeros(2, np.int64))
    assert found.pair_count == 0


def test_chains_are_one_set_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_TILE", 4)
    pictures = [a_head(seed) for seed in range(9)]
    copies = [reencoded(pictures[0]), resized(pictures[0], 100), reencoded(pictures[8])]
    found = search([*pictures, *copies])
    sets = found.components
    assert sets[0] == sets[9] == sets[10]
    assert sets[8] == sets[11] != sets[0]
    assert len(set(sets.tolist())) == 9
    assert found.pair_count == 4
    assert len(found.examples) == 2


def test_pairs_that_contradict_each_other_are_told() -> None:
    pictures = [a_head(0), a_head(1)]
    found = search([*pictures, *map(reencoded, pictures)], [0, 1, 0, 2])
    assert (found.pair_count, found.contradictory_pair_count) == (2, 1)
    assert [(p.first, p.second) for p in found.contradictory_examples] == [(1, 3)]


def test_a_set_that_is_all_one_picture_costs_little() -> None:
    small = thumbnail(a_head(0))
    count = 3000
    found = find_near_duplicates(
        np.full(count, perceptual_hash(small), np.uint64),
        np.repeat(small[np.newaxis], count, axis=0),
        np.arange(count) % 2,
    )
    assert found.pair_count == count * (count - 1) // 2
    assert found.contradictory_pair_count == (count // 2) ** 2
    assert set(found.components.tolist()) == {0}
    assert (len(found.examples), len(found.contradictory_examples)) == (1, 1)


def test_examples_are_few() -> None:
    pictures = [a_head(seed) for seed in range(2 * MAX_EXAMPLES)]
    found = search([*pictures, *map(reencoded, pictures)])
    assert found.pair_count == len(pictures)
    assert len(found.examples) == MAX_EXAMPLES


def test_nothing_has_no_copies() -> None:
    assert search([]).pair_count == 0
    assert search([a_head(1)]).components.tolist() == [0]


def test_the_crop_leaves_out_dark_margins_and_specks() -> None:
    head = np.full((40, 30), 200, np.uint8)
    picture = np.pad(head, ((25, 60), (10, 100)))
    assert head_crop(picture).shape == (40, 30)
    picture[2, 3] = 255
    assert head_crop(picture).shape == (40, 30)
    black = np.zeros((50, 60), np.uint8)
    assert head_crop(black).shape == (50, 60)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_is_blank_also_with_a_hot_pixel(level: int) -> None:
    grey = np.full((90, 120), level, np.uint8)
    assert look_at(jpeg(grey), grey).blank
    grey[40, 50] = 255 - level
    assert look_at(jpeg(grey), grey).blank
    assert not look_at(jpeg(a_head(1)), a_head(1)).blank
