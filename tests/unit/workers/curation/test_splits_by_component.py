"""Slices that belong together stay on one side."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.datasets import DatasetItem, Split
from core.errors import TrainingFailed
from core.labels import TumourLabel
from workers.curation.splits import SplitPlan, linked_groups, split_dataset


def an_item(number: int, group: str = "", component: str = "") -> DatasetItem:
    return DatasetItem(
        path=f"{number:03}.png",
        sha256=f"{number:064x}",
        size_bytes=1,
        label=(TumourLabel.GLIOMA, TumourLabel.PITUITARY)[number % 2],
        width=1,
        height=1,
        group=group,
        component=component,
    )


def split(items: list[DatasetItem], seed: int = 0) -> SplitPlan:
    return split_dataset(items, validation_share=0.2, test_share=0.2, seed=seed)


def sides(plan: SplitPlan, key: Callable[[DatasetItem], str]) -> list[set[str]]:
    return [{key(item) for item in part} for part in (plan.train, plan.validation, plan.test)]


def numbers(groups: list[tuple[DatasetItem, ...]]) -> list[list[int]]:
    return sorted([int(item.path[:3]) for item in group] for group in groups)


def test_groups_and_components_are_linked_by_chains() -> None:
    items = [
        an_item(0, "ann", "x"),
        an_item(1, "ann", "y"),
        an_item(2, "bob", "y"),
        an_item(3, "", "z"),
        an_item(4, "eve", "w"),
        replace(an_item(5, "", "z"), sha256=f"{4:064x}"),
    ]
    assert numbers(linked_groups(items)) == [[0, 1, 2], [3, 4, 5]]


def test_a_group_and_a_component_of_one_name_are_not_the_same() -> None:
    assert len(linked_groups([an_item(0, group="a"), an_item(1, component="a")])) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_component_and_no_group_is_on_two_sides(seed: int) -> None:
    # Every other pair of neighbouring groups is linked by one component.
    items = [
        an_item(n, f"g{n // 4}", f"c{n // 8}" if n % 8 in (3, 4) else f"alone{n}")
        for n in range(160)
    ]
    plan = split(items, seed)
    for key in (lambda i: i.group, lambda i: i.component):
        train, validation, test = sides(plan, key)
        assert not train & validation
        assert not train & test
        assert not validation & test


@pytest.mark.parametrize(
    ("group", "component", "said"),
    [
        ("g", "c", "grouped by given group and near-duplicate component, seed 0"),
        ("g", "", "grouped by given group, seed 0"),
        ("", "c", "grouped by near-duplicate component, seed 0"),
        ("", "", "grouped by equal pictures only, seed 0"),
    ],
)
def test_the_protocol_says_what_keeps_slices_together(
    group: str, component: str, said: str
) -> None:
    items = [
        an_item(n, f"{group}{n}" if group else "", f"{component}{n}" if component else "")
        for n in range(30)
    ]
    assert split(items).protocol.endswith(said)
    items[0] = replace(items[0], split=Split.TEST)
    protocol = split(items).protocol
    assert "own Testing folder" in protocol
    assert protocol.endswith(said)


def test_a_class_that_is_one_slice_many_times_is_too_small() -> None:
    items = [an_item(n, component="c" if n % 2 else f"c{n}") for n in range(40)]
    with pytest.raises(TrainingFailed, match="pituitary has 1"):
        split(items)
