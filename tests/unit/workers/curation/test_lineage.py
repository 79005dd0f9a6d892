"""What a model's ancestors have made of slices, and that a split respects it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.datasets import DatasetItem, Split
from core.errors import TrainingFailed
from core.labels import LABELS
from tests.unit.workers.curation.test_splits import GLIOMA, an_item, some_items
from workers.curation.lineage import NO_LINEAGE, Lineage, Part
from workers.curation.splits import SplitPlan, linked_groups, split_dataset

OLD = some_items(40)
NEW = [an_item(1000 + n, label) for n, label in enumerate(LABELS * 20)]


def split(items: Sequence[DatasetItem], lineage: Lineage, seed: int = 0) -> SplitPlan:
    return split_dataset(items, validation_share=0.15, test_share=0.15, seed=seed, lineage=lineage)


def after(plan: SplitPlan, lineage: Lineage = NO_LINEAGE) -> Lineage:
    return lineage.followed_by(plan.parts, linked_groups(everything(plan)))


def everything(plan: SplitPlan) -> list[DatasetItem]:
    return [item for part in plan.parts.values() for item in part]


def taught(*items: DatasetItem, part: Part = Part.TRAIN) -> Lineage:
    return Lineage().followed_by({part: items}, linked_groups(items))


def hashes(items: Sequence[DatasetItem]) -> set[str]:
    return {item.sha256 for item in items}


def with_layout(items: Sequence[DatasetItem], test: Sequence[DatasetItem]) -> list[DatasetItem]:
    """The same slices, of which some are in a Testing folder."""
    tested = hashes(test)
    return [replace(item, split=Split.TEST) if item.sha256 in tested else item for item in items]


def test_what_is_kept_is_read_back() -> None:
    lineage = after(split(OLD, NO_LINEAGE))
    assert len(lineage.parts) == len(OLD)
    again = Lineage.from_json(lineage.to_json())
    assert (again, again.to_json()) == (lineage, lineage.to_json())


def test_a_slice_that_was_encoded_anew_is_known_by_its_look() -> None:
    look = 0xFEDC_BA98_7654_3210
    first = taught(replace(an_item(1, GLIOMA), look=f"{look:016x}"))
    known = Lineage.from_json(first.to_json())
    for changed, part in ((0, Part.TRAIN), (0b101, Part.TRAIN), (0b1011, None)):
        copy = replace(an_item(5000, GLIOMA), look=f"{look ^ changed:016x}")
        assert known.part_of([copy]) is part
    assert known.part_of([an_item(5000, GLIOMA)]) is None


def test_what_is_known_by_its_bytes_or_group_is_not_asked_by_its_look() -> None:
    look = "0123456789abcdef"
    seen = replace(an_item(1, GLIOMA), look=look)
    tested = replace(an_item(2, GLIOMA, group="one patient"), look=look)
    parts = {Part.TRAIN: [seen], Part.TEST: [tested]}
    lineage = Lineage().followed_by(parts, [[seen], [tested]])
    later = replace(an_item(3, GLIOMA, group="one patient"), look=look)
    assert lineage.part_of([tested]) is Part.TEST
    assert lineage.part_of([tested, later]) is Part.TEST
    assert lineage.part_of([replace(later, group="")]) is Part.TRAIN


def test_a_look_that_two_slices_share_has_the_lower_part() -> None:
    seen, tested = (replace(an_item(n, GLIOMA), look="0" * 16) for n in (2, 1))
    both = [[seen], [tested]]
    for groups in (both, both[::-1]):
        lineage = Lineage().followed_by({Part.TRAIN: [seen], Part.TEST: [tested]}, groups)
        assert lineage.part_of([replace(seen, sha256="new")]) is Part.TRAIN


def test_names_of_groups_are_not_kept() -> None:
    kept = taught(an_item(1, GLIOMA, group="Mary Smith")).to_json()
    assert b"Mary" not in kept
    assert kept.count(b"group-") == 1


def test_the_same_slices_are_split_alike_whatever_the_seed() -> None:
    first = split(OLD, NO_LINEAGE)
    again = split(OLD, after(first), seed=7)
    assert again.parts == first.parts
    assert "160 of 160 slices are known" in again.protocol


def test_slices_keep_their_part_when_new_ones_come() -> None:
    first = split(OLD, NO_LINEAGE)
    second = split([*OLD, *NEW], after(first), seed=1)
    for part in Part:
        assert hashes(first.parts[part]) <= hashes(second.parts[part])
    total = len(OLD) + len(NEW)
    assert [len(second.parts[part]) for part in Part] == [
        pytest.approx(share * total, abs=len(LABELS)) for share in (0.7, 0.15, 0.15)
    ]
    assert "160 of 240 slices are known" in second.protocol


def test_that_nothing_is_known_is_said_too() -> None:
    assert "0 of 80 slices are known" in split(NEW, after(split(OLD, NO_LINEAGE))).protocol
    assert "known" not in split(NEW, NO_LINEAGE).protocol


def test_a_slice_that_was_tested_and_then_taught_is_never_tested_again() -> None:
    tested = taught(*OLD, part=Part.TEST)
    both = tested.followed_by({Part.TRAIN: OLD[:10]}, linked_groups(OLD))
    again = both.followed_by({Part.TEST: OLD[:10]}, linked_groups(OLD))
    assert again.part_of(OLD[:1]) is Part.TRAIN
    assert again.part_of(OLD[10:11]) is Part.TEST
    assert again.part_of(NEW[:1]) is None


def test_a_group_goes_where_its_most_used_slice_was() -> None:
    first = split(OLD, NO_LINEAGE)
    grouped = [
        an_item(number, GLIOMA, group="one patient")
        for number in (int(first.train[0].sha256, 16), int(first.test[0].sha256, 16), 5000)
    ]
    second = split([*NEW, *grouped], after(first))
    assert hashes(grouped) <= hashes(second.train)


def test_new_slices_of_a_known_patient_have_the_patients_part() -> None:
    learned = taught(an_item(1, GLIOMA, group="one patient"))
    later = an_item(5000, GLIOMA, group="one patient")
    for seed in range(5):
        assert later in split([*NEW, later], learned, seed=seed).train


def test_what_belongs_to_a_learned_slice_counts_as_learned() -> None:
    """A Testing folder may have a slice of a patient from Training, and a split may leave out
    slices that its task has no use for."""
    seen, tested, unused = (an_item(n, GLIOMA, group="one patient") for n in range(3))
    parts = {Part.TRAIN: [seen], Part.TEST: [tested]}
    lineage = Lineage().followed_by(parts, linked_groups([seen, tested, unused]))
    assert {lineage.part_of([item]) for item in (seen, tested, unused)} == {Part.TRAIN}


def test_too_few_new_slices_are_refused() -> None:
    few = NEW[: 2 * len(LABELS)]
    with pytest.raises(TrainingFailed, match=r"Only \d+ slices are left for validation, where"):
        split([*OLD, *few], taught(*OLD))


def test_a_class_that_has_its_part_already_is_missed_elsewhere() -> None:
    gliomas = [item for item in OLD if item.label is GLIOMA]
    with pytest.raises(TrainingFailed, match=r"Of glioma no slices are left for a part"):
        split(OLD, taught(*gliomas, part=Part.TEST))


def test_a_class_that_a_testing_folder_loses_is_named() -> None:
    test = [replace(item, split=Split.TEST) for item in some_items(80)]
    gliomas = [item for item in test if item.label is GLIOMA]
    rest = [an_item(1000 + n, label) for n, label in enumerate(LABELS * 40)]
    with pytest.raises(TrainingFailed, match="Of glioma no slices are left for the Testing folder"):
        split([*rest, *test], taught(*gliomas))


def test_a_known_patient_does_not_stop_a_training_that_is_short_of_slices_anyway() -> None:
    items = [
        an_item(100 * place + 20 * patient + n, label, group=f"{label} {patient}")
        for place, label in enumerate(LABELS)
        for patient, size in enumerate((20, 20, 2, 2, 2))
        for n in range(size)
    ]
    learned = taught(*(item for item in items if item.group == f"{LABELS[0]} 0"))
    assert split(items, NO_LINEAGE).train
    assert split(items, learned).train


def test_larger_shares_than_the_ancestors_are_no_reason_to_refuse() -> None:
    many = some_items(400)
    first = split_dataset(many, validation_share=0.1, test_share=0.1, seed=0)
    second = split_dataset(
        many, validation_share=0.1, test_share=0.25, seed=0, lineage=after(first)
    )
    assert second.test == first.test


def test_a_testing_folder_is_not_tested_on_where_it_was_learned_from() -> None:
    test, known = OLD[::4], OLD[::16]
    plan = split(with_layout(OLD, test), taught(*known))
    assert hashes(plan.test) == hashes(test) - hashes(known)
    assert hashes(known) <= hashes(plan.train)
    words = "own Testing folder, but for what is known, of whose 30 slices 0 are known"
    assert words in plan.protocol

    with pytest.raises(TrainingFailed, match=r"are left for test.*to the Testing folder"):
        split(with_layout(OLD, test), taught(*test))


def test_what_was_held_out_stays_so_whatever_a_testing_folder_says() -> None:
    test, earlier = OLD[::4], OLD[1:9:4]
    plan = split(with_layout(OLD, test), taught(*earlier, part=Part.TEST))
    assert hashes(plan.test) == hashes([*test, *earlier])
