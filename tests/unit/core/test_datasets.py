"""Data sets: their digest and their names."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import DatasetItem, Split, check_dataset_id, dataset_digest
from core.errors import InvalidArgument
from core.labels import TumourLabel
from tests.fakes.records import a_dataset

ITEM = DatasetItem(
    path="glioma/1.png",
    sha256="a" * 64,
    size_bytes=10,
    label=TumourLabel.GLIOMA,
    width=4,
    height=5,
    group="p1",
    split=Split.TRAIN,
    mask_sha256="b" * 64,
)
OTHERS = [replace(ITEM, path=f"glioma/{i}.png", sha256=f"{i:064x}") for i in range(2, 6)]


@given(st.permutations([ITEM, *OTHERS]))
def test_the_order_of_items_does_not_count(items: list[DatasetItem]) -> None:
    assert dataset_digest(items) == dataset_digest([ITEM, *OTHERS])


@pytest.mark.parametrize(
    "change",
    [
        {"path": "glioma/9.png"},
        {"sha256": "c" * 64},
        {"label": TumourLabel.MENINGIOMA},
        {"group": "p2"},
        {"group": ""},
        {"split": Split.TEST},
        {"split": None},
        {"mask_sha256": "c" * 64},
        {"mask_sha256": None},
    ],
    ids=str,
)
def test_whatever_training_sees_counts(change: dict[str, Any]) -> None:
    assert dataset_digest([replace(ITEM, **change), *OTHERS]) != dataset_digest([ITEM, *OTHERS])


def test_a_missing_item_counts() -> None:
    assert dataset_digest(OTHERS) != dataset_digest([ITEM, *OTHERS])


def test_the_digest_is_sha256_in_hex() -> None:
    assert len(bytes.fromhex(dataset_digest([ITEM]))) == 32
    # An empty input's SHA-256: nothing else goes into the digest.
    assert dataset_digest([]).startswith("e3b0c44298fc1c14")


def test_neighbouring_fields_do_not_run_together() -> None:
    ungrouped = replace(ITEM, group="", split=Split.TRAIN, mask_sha256=None)
    grouped = replace(ITEM, group="train", split=None, mask_sha256=None)
    assert dataset_digest([ungrouped]) != dataset_digest([grouped])


@pytest.mark.parametrize("name", ["a", "9", "Brains", "kaggle-mri_2.1", "x" * 63])
def test_good_ids(name: str) -> None:
    assert check_dataset_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".hidden", "-x", "_x", "a/b", "a b", "a\n", "ä", "x" * 64, "..", "a\0", "a?b"],
)
def test_bad_ids(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_dataset_id(name)
    assert [v.field for v in caught.value.violations] == ["dataset_id"]


def test_the_resource_name() -> None:
    assert a_dataset("brains").name == "datasets/brains"
