"""What a model's ancestors have made of slices, and that a split respects it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.datasets import DatasetItem, Split
from core.errors import TrainingFailed
from core.labels import LABELS
from tests.unit.workers.curation.test_splits import GLIOMA, an_item, some_items
from workers.curation.lineage import NO_LINEAGE, Lineage, Part
from workers.curation.splits import SplitPlan, split_dataset

OLD = some_items(40)
NEW = [an_item(1000 + n, label) for n, label in enumerate(LABELS * 20)]


def split(items: Sequence[DatasetItem], lineage: Lineage, seed: int = 0) -> SplitPlan:
    return split_dataset(items, validation_share=0.15, test_share=0.15, seed=seed, lineage=lineage)


def after(plan: SplitPlan, lineage: Lineage = NO_LINEAGE) -> Lineage:
    return lineage.followed_by(plan.parts)


def hashes(items: Sequence[DatasetItem]) -> set[str]:
    return {item.sha256 for item in items}


def test_what_is_kept_is_read_back() -> None:
    lineage = after(split(OLD, NO_LINEAGE))
    assert len(lineage.parts) == len(OLD)
    again = Lineage.from_json(lineage.to_json())
    assert (again, again.to_json()) == (lineage, lineage.to_json())


def test_the_same_slices_are_split_alike_whatever_the_seed() -> None:
    first = split(OLD, NO_LINEAGE)
    again = split(OLD, after(first), seed=7)
    assert again.parts == first.parts
    assert "160 slices have the part they had for the version it goes on from" in again.protocol


def test_slices_keep_their_part_when_new_ones_come() -> None:
    first = split(OLD, NO_LINEAGE)
    second = split([*OLD, *NEW], after(first), seed=1)
    for part in Part:
        assert hashes(first.parts[part]) <= hashes(second.parts[part])
    total = len(OLD) + len(NEW)
    assert [len(second.parts[part]) for part in Part] == [
        pytest.approx(share * total, abs=len(LABELS)) for share in (0.7, 0.15, 0.15)
    ]


def test_a_slice_that_was_tested_and_then_taught_is_never_tested_again() -> None:
    tested = Lineage().followed_by({Part.TEST: OLD})
    taught = tested.followed_by({Part.TRAIN: OLD[:10]}).followed_by({Part.TEST: OLD[:10]})
    assert taught.part_of(OLD[:1]) is Part.TRAIN
    assert taught.part_of(OLD[10:11]) is Part.TEST
    assert taught.part_of(NEW[:1]) is None


def test_a_group_goes_where_its_most_used_slice_was() -> None:
    first = split(OLD, NO_LINEAGE)
    grouped = [
        an_item(number, GLIOMA, group="one patient")
        for number in (int(first.train[0].sha256, 16), int(first.test[0].sha256, 16), 5000)
    ]
    second = split([*NEW, *grouped], after(first))
    assert hashes(grouped) <= hashes(second.train)


def test_nothing_is_tested_on_what_was_all_learned_from() -> None:
    learned = Lineage().followed_by({Part.TRAIN: OLD})
    with pytest.raises(TrainingFailed, match=r"has not learned from.*Add new slices"):
        split(OLD, learned)


def test_a_testing_folder_is_used_as_it_is_and_its_known_slices_are_counted() -> None:
    test = [replace(item, split=Split.TEST) for item in OLD[::4]]
    rest = [item for item in OLD if item not in OLD[::4]]
    learned = Lineage().followed_by({Part.TRAIN: OLD[:20]})
    plan = split([*rest, *test], learned)
    assert hashes(plan.test) == hashes(test)
    assert "and 5 from earlier versions that it goes on from" in plan.protocol
