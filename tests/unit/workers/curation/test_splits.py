import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets import DatasetItem, Split
from core.errors import TrainingFailed
from core.labels import LABELS, TumourLabel
from workers.curation.splits import SplitPlan, fold_plans, split_dataset, split_json

GLIOMA, HEALTHY = TumourLabel.GLIOMA, TumourLabel.NO_TUMOR


def an_item(number: int, label: TumourLabel = GLIOMA, group: str = "") -> DatasetItem:
    """A picture unlike those of other numbers."""
    return DatasetItem(
        path=f"{label}/{number:04d}.png",
        sha256=f"{number:064x}",
        size_bytes=10,
        label=label,
        width=16,
        height=16,
        group=group,
    )


def some_items(per_class: int, labels: Sequence[TumourLabel] = LABELS) -> list[DatasetItem]:
    return [
        an_item(per_class * place + number, label)
        for place, label in enumerate(labels)
        for number in range(per_class)
    ]


def split(items: Sequence[DatasetItem], seed: int = 0) -> SplitPlan:
    return split_dataset(items, validation_share=0.15, test_share=0.15, seed=seed)


def parts_of(plan: SplitPlan) -> tuple[tuple[DatasetItem, ...], ...]:
    return plan.train, plan.validation, plan.test


def classes(part: Sequence[DatasetItem]) -> Counter[TumourLabel]:
    return Counter(item.label for item in part)


@st.composite
def grouped_items(draw: st.DrawFn) -> list[DatasetItem]:
    """Two or three classes, each of three to eight groups of unlike sizes."""
    items: list[DatasetItem] = []
    for label in LABELS[: draw(st.integers(2, 3))]:
        for group in range(draw(st.integers(3, 8))):
            size = draw(st.integers(1, 9))
            items += [an_item(len(items) + n, label, f"{label} {group}") for n in range(size)]
    return items


@settings(max_examples=60, deadline=None)
@given(grouped_items(), st.integers(0, 2**31 - 1))
def test_groups_stay_on_one_side_and_every_part_has_every_class(
    items: list[DatasetItem], seed: int
) -> None:
    parts = parts_of(split(items, seed))
    assert sorted(i.path for part in parts for i in part) == sorted(i.path for i in items)
    groups = [{item.group for item in part} for part in parts]
    assert sum(map(len, groups)) == len({item.group for item in items})
    assert all(set(classes(part)) == set(classes(items)) for part in parts)


def test_each_class_is_shared_out_alike() -> None:
    items = some_items(100, [GLIOMA]) + [an_item(1000 + n, HEALTHY) for n in range(20)]
    plan = split(items)
    assert classes(plan.train) == {GLIOMA: 70, HEALTHY: 14}
    assert classes(plan.validation) == classes(plan.test) == {GLIOMA: 15, HEALTHY: 3}


def test_the_shares_are_those_asked_for() -> None:
    plan = split_dataset(some_items(100), validation_share=0.1, test_share=0.3, seed=0)
    assert [len(part) for part in parts_of(plan)] == [240, 40, 120]


def test_the_same_seed_gives_the_same_split_in_whatever_order_items_come() -> None:
    items = some_items(20)
    assert split(items, seed=7) == split(items[::-1], seed=7)


def test_another_seed_gives_another_split() -> None:
    items = some_items(20)
    assert split(items, seed=7).test != split(items, seed=8).test


def test_parts_are_in_path_order() -> None:
    for part in parts_of(split(some_items(20)[::-1])):
        assert [item.path for item in part] == sorted(item.path for item in part)


@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_stay_together(seed: int) -> None:
    items = some_items(6)
    twins = [replace(item, path=f"again/{item.path}") for item in items]
    parts = parts_of(split(items + twins, seed))
    pictures = [{item.sha256 for item in part} for part in parts]
    assert sum(map(len, pictures)) == len(items)


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_share_a_picture_stay_together(seed: int) -> None:
    chain = [an_item(0, group="a"), an_item(1, group="b"), an_item(2, group="c"), an_item(3)]
    links = [
        replace(chain[0], path="link/1.png", group="b"),
        replace(chain[1], path="link/2.png", group="c"),
        replace(chain[2], path="link/3.png", group=""),
    ]
    others = [an_item(10 + n, label) for label in (GLIOMA, HEALTHY) for n in range(4)]
    parts = parts_of(split([*chain, *links, *others], seed))
    together = {item.path for item in [*chain[:3], *links]}
    assert sum(not together.isdisjoint(item.path for item in part) for part in parts) == 1


@pytest.mark.parametrize(
    "few",
    [
        [an_item(100 + n) for n in range(2)],
        [an_item(100 + n, group=f"patient {n % 2}") for n in range(10)],
        [replace(an_item(100 + n), sha256=str(n % 2) * 64) for n in range(10)],
    ],
    ids=["pictures", "patients", "different pictures"],
)
def test_a_class_with_too_few_groups_fails_by_name(few: list[DatasetItem]) -> None:
    healthy = [an_item(n, HEALTHY) for n in range(10)]
    with pytest.raises(TrainingFailed, match=r"at least 3 groups .* but glioma has 2"):
        split(healthy + few)


def test_three_groups_a_class_are_enough() -> None:
    plan = split(some_items(3))
    assert all(classes(part) == dict.fromkeys(LABELS, 1) for part in parts_of(plan))


@pytest.mark.parametrize("seed", range(10))
def test_patients_with_two_classes_are_spread_where_there_are_few(seed: int) -> None:
    both = [an_item(n, label, f"p{n % 3}") for n, label in enumerate([GLIOMA, HEALTHY] * 3)]
    glioma = [an_item(10 + n, group="p3") for n in range(2)]
    for part in parts_of(split([*both, *glioma], seed)):
        assert set(classes(part)) == {GLIOMA, HEALTHY}


def given_split(train: int, test: int) -> list[DatasetItem]:
    """For each of two classes, slices in a Training folder and in a Testing folder."""
    items = some_items(train + test, [GLIOMA, HEALTHY])
    return [
        replace(item, split=Split.TRAIN if number % (train + test) < train else Split.TEST)
        for number, item in enumerate(items)
    ]


def test_a_given_test_split_is_kept_as_it_is() -> None:
    items = given_split(train=17, test=5)
    plan = split(items)
    assert set(plan.test) == {item for item in items if item.split is Split.TEST}
    assert classes(plan.train) == {GLIOMA: 13, HEALTHY: 13}
    assert classes(plan.validation) == {GLIOMA: 4, HEALTHY: 4}


@pytest.mark.parametrize(("tested", "validated"), [(5, 30), (50, 30), (80, 20)])
def test_beside_a_given_test_split_validation_has_its_share_of_the_whole(
    tested: int, validated: int
) -> None:
    """But at most half of what is not tested."""
    plan = split(given_split(train=100 - tested, test=tested))
    assert len(plan.validation) == pytest.approx(validated, abs=2)


def test_beside_a_given_test_split_two_groups_are_enough() -> None:
    assert len(split(given_split(train=2, test=1)).validation) == 2
    with pytest.raises(TrainingFailed, match="at least 2 groups"):
        split(given_split(train=1, test=1))


@pytest.mark.parametrize("only", Split)
def test_a_split_that_gives_one_side_alone_is_no_split(only: Split) -> None:
    items = [replace(item, split=only) for item in some_items(20)]
    assert [len(part) for part in parts_of(split(items))] == [56, 12, 12]


def test_the_protocol_says_how_it_was_split() -> None:
    assert split(some_items(3), seed=7).protocol == (
        "held out at random, stratified by class, grouped by equal pictures only, seed 7"
    )
    patients = [replace(item, group=item.path) for item in some_items(3)]
    assert "grouped by given group" in split(patients).protocol
    assert split(given_split(3, 1)).protocol.startswith("the data set's own Testing folder")


@pytest.mark.parametrize("untaught", [[HEALTHY], [HEALTHY, GLIOMA]], ids=["one", "all but one"])
def test_a_class_that_is_only_in_the_testing_folder_fails_by_name(
    untaught: list[TumourLabel],
) -> None:
    labels = [TumourLabel.PITUITARY, GLIOMA, HEALTHY]
    items = [
        replace(item, split=Split.TEST if item.label in untaught or n % 5 == 0 else Split.TRAIN)
        for n, item in enumerate(some_items(10, labels))
    ]
    names = ", ".join(sorted(untaught))
    with pytest.raises(TrainingFailed, match=rf"has slices of {names}, and there are none .*folds"):
        split(items)
    assert len(fold_plans(items, folds=2, validation_share=0.2, seed=0)) == 2


def test_a_class_that_the_testing_folder_does_not_have_can_be_taught() -> None:
    items = [
        replace(item, split=Split.TEST if item.label is GLIOMA and n < 4 else Split.TRAIN)
        for n, item in enumerate(some_items(10, [GLIOMA, HEALTHY]))
    ]
    assert set(classes(split(items).test)) == {GLIOMA}


# --- folds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_slice_is_tested_once_and_taught_or_chosen_by_otherwise(folds: int) -> None:
    items = some_items(10)
    plans = fold_plans(items, folds=folds, validation_share=0.2, seed=0)
    assert sorted(i.path for plan in plans for i in plan.test) == sorted(i.path for i in items)
    for plan in plans:
        assert sorted(i.path for part in parts_of(plan) for i in part) == sorted(
            i.path for i in items
        )
        assert all(set(classes(part)) == set(LABELS) for part in parts_of(plan))


def test_a_class_smaller_than_the_folds_fails_by_name() -> None:
    items = some_items(20, [HEALTHY]) + [an_item(1000 + n) for n in range(4)]
    with pytest.raises(
        TrainingFailed,
        match=r"too small for 5 folds: .* at least 5 groups .* glioma has 4\..* folds",
    ):
        fold_plans(items, folds=5, validation_share=0.1, seed=0)


def test_a_class_that_folds_leave_too_little_of_fails_by_name() -> None:
    items = some_items(20, [HEALTHY]) + [an_item(1000 + n) for n in range(2)]
    with pytest.raises(
        TrainingFailed, match=r"too small for 2 folds: what a fold does not test .* glioma has 1\."
    ):
        fold_plans(items, folds=2, validation_share=0.1, seed=0)


def test_what_a_given_layout_leaks_stands_beside_its_numbers() -> None:
    clean = split(given_split(3, 1)).protocol
    assert "0 are known from Training" in clean
    items = given_split(3, 1)
    taught = next(item for item in items if item.split is Split.TRAIN)
    tested = next(item for item in items if item.split is Split.TEST and item.label is taught.label)
    copied = [replace(item, sha256=taught.sha256) if item is tested else item for item in items]
    assert "1 are known from Training" in split(copied).protocol


def test_a_split_is_written_down_by_path() -> None:
    items = some_items(20)
    plan, folds = split(items), fold_plans(items, folds=2, validation_share=0.2, seed=0)

    kept = json.loads(split_json(plan, folds))

    assert kept["final"]["test"] == [item.path for item in plan.test]
    assert [fold["train"] for fold in kept["folds"]] == [[i.path for i in f.train] for f in folds]
    assert kept["folds"][0]["protocol"] == folds[0].protocol
