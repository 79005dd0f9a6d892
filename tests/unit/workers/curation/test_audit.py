"""What an audit finds, told slice by slice and in plain words."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.datasets import ClassLeakage, DatasetItem, LabelErrors, Split
from core.labels import TumourLabel
from tests.fakes.records import an_audit
from tests.fakes.slices import a_head, framed, jpeg, png
from workers.curation.audit import Audited, LeftOutByCause, audit_dataset
from workers.curation.audit_warnings import with_warnings
from workers.curation.lineage import Lineage, Part
from workers.curation.looks import Look, look_at
from workers.curation.mask_check import MaskFault, MaskFound
from workers.imaging.decode import ImageLimits, decode_grey

GLIOMA, PITUITARY = TumourLabel.GLIOMA, TumourLabel.PITUITARY
LIMITS = ImageLimits(max_bytes=1 << 24, max_pixels=1 << 24)


class Set:
    """A data set in the making."""

    def __init__(self) -> None:
        self.items: list[DatasetItem] = []
        self.looks: dict[str, Look] = {}

    def add(self, path: str, label: TumourLabel, data: bytes, **fields: Any) -> None:
        grey = decode_grey(data, LIMITS)
        sha256 = hashlib.sha256(data).hexdigest()
        self.looks[sha256] = look_at(data, grey)
        self.items.append(
            DatasetItem(
                path=path,
                sha256=sha256,
                size_bytes=len(data),
                label=label,
                width=grey.shape[1],
                height=grey.shape[0],
                **fields,
            )
        )

    def audited(self, left_out: LeftOutByCause | None = None) -> Audited:
        return audit_dataset(self.items, self.looks, left_out or LeftOutByCause())


def heads(count: int = 6) -> Set:
    """Two classes of different heads, nothing wrong with them but that no patient is named."""
    made = Set()
    for seed in range(count):
        label = (GLIOMA, PITUITARY)[seed % 2]
        made.add(f"{label}/{seed}.png", label, png(a_head(seed)))
    return made


def warned(found: Audited, words: str) -> list[str]:
    return [text for text in found.audit.warnings if words in text]


def test_a_clean_small_set_has_nothing_but_what_it_lacks() -> None:
    found = heads().audited()
    audit = found.audit
    assert (audit.exact_duplicate_count, audit.near_duplicate_count, audit.blank_count) == (0, 0, 0)
    assert (audit.class_ratio, audit.leakage, audit.kinds) == (1.0, {}, {"PNG L": 6})
    assert (audit.size_count, audit.sizes[0].count, audit.label_errors) == (1, 6, None)
    assert audit.shortcut_control is not None
    assert audit.warnings == (
        "There is no slice of meningioma or no_tumor: a classifier that learns from this data set "
        "alone never answers that, and does not get into production unless it is forced.",
        "There are only 6 slices. Under about 600 the default recipe cannot show how often a "
        "classifier's accepted answers are wrong; its report says what was done instead.",
        "No patients are named (column group of manifest.csv), so a patient may be on both sides "
        "of a split.",
    )
    assert len({item.component for item in found.items}) == 6
    assert all(item.component for item in found.items)


def test_copies_share_a_component_and_are_shown() -> None:
    made = heads()
    made.add("glioma/copy.jpg", GLIOMA, jpeg(framed(a_head(0), 30, 8)))
    made.add("glioma/exact.png", GLIOMA, png(a_head(0)))
    found = made.audited()
    audit = found.audit
    component = {item.path: item.component for item in found.items}
    assert (
        component["glioma/copy.jpg"] == component["glioma/exact.png"] == component["glioma/0.png"]
    )
    assert (audit.exact_duplicate_count, audit.near_duplicate_count) == (1, 3)
    assert (audit.near_duplicate_pair_count, audit.near_duplicate_component_count) == (1, 1)
    (pair,) = audit.near_duplicate_examples
    assert {pair.first, pair.second} == {"glioma/0.png", "glioma/copy.jpg"}
    assert audit.contradictory_examples == ()
    (copies,) = warned(found, "3 slices are near-duplicates of others, in 1 set.")
    assert "each set stays on one side; it still counts" in copies
    assert warned(found, "1 slice is an exact copy of another")


def test_a_model_that_learned_from_slices_knows_their_copies_in_a_later_data_set() -> None:
    first = heads().audited().items
    learned = Lineage().followed_by({Part.TRAIN: first}, [[item] for item in first])
    later = Set()
    for seed in range(12):
        later.add(f"glioma/{seed}.jpg", GLIOMA, jpeg(framed(a_head(seed), 30, 8)))
    later.add("glioma/black.png", GLIOMA, png(np.zeros((64, 64), np.uint8)))
    *copies, black = later.audited().items
    found = [learned.part_of([item]) for item in copies]
    assert found == [Part.TRAIN] * 6 + [None] * 6
    assert black.look == ""


def test_names_of_components_do_not_depend_on_the_order() -> None:
    made = heads()
    made.add("glioma/copy.jpg", GLIOMA, jpeg(a_head(0)))
    first = {item.path: item.component for item in made.audited().items}
    made.items.reverse()
    assert {item.path: item.component for item in made.audited().items} == first


def test_copies_with_different_labels_are_told_first() -> None:
    made = heads()
    made.add("pituitary/copy.jpg", PITUITARY, jpeg(a_head(0)))
    found = made.audited(LeftOutByCause(unreadable=2, contradictory=1))
    audit = found.audit
    assert audit.contradictory_pair_count == 1
    (pair,) = audit.contradictory_examples
    assert {pair.first_label, pair.second_label} == {GLIOMA, PITUITARY}
    assert "1 pair of near-duplicates with different labels" in audit.warnings[0]
    assert warned(found, "1 file was left out, because the same picture came under different")
    assert warned(found, "2 files were left out, because they cannot be read")
    assert (audit.unreadable_count, audit.contradictory_exact_count) == (2, 1)


def given_split(copies: Sequence[tuple[TumourLabel, bytes, str]]) -> Audited:
    made = Set()
    for seed in range(6):
        label = (GLIOMA, PITUITARY)[seed % 2]
        split = Split.TEST if seed > 3 else Split.TRAIN
        made.add(f"{seed}.png", label, png(a_head(seed)), split=split, group=f"p{seed}")
    for number, (label, data, group) in enumerate(copies):
        made.add(f"copy{number}.png", label, data, split=Split.TEST, group=group)
    return made.audited()


def test_leakage_is_counted_by_class_and_cause() -> None:
    found = given_split(
        [
            (GLIOMA, jpeg(a_head(0)), "q"),  # a near-duplicate
            (GLIOMA, png(a_head(2)), "r"),  # the same picture
            (GLIOMA, png(a_head(50)), "p1"),  # the same patient
            (GLIOMA, png(a_head(51)), "p4"),  # a patient of Testing only
        ]
    )
    assert found.audit.leakage == {
        GLIOMA: ClassLeakage(test_count=5, leaked_count=3),
        PITUITARY: ClassLeakage(test_count=1, leaked_count=0),
    }
    assert warned(found, "The Testing part leaks: 3 of 5 glioma slices")
    (copies,) = warned(found, "near-duplicates of others")
    assert "each set stays on one side, but for what its own Testing folder has" in copies


def test_a_layout_that_does_not_leak_is_reported_as_such() -> None:
    found = given_split([])
    assert {leak.leaked_count for leak in found.audit.leakage.values()} == {0}
    assert warned(found, "leaks") == []
    assert warned(found, "No patients") == []


def test_classes_on_one_side_of_a_given_layout_are_named() -> None:
    made = heads(2)
    made.items[0] = replace(made.items[0], split=Split.TRAIN)
    made.items[1] = replace(made.items[1], split=Split.TEST)
    found = made.audited()
    assert warned(found, "Only the Testing part has slices of pituitary: there are none to learn")
    assert warned(found, "The Testing part has no slice of glioma.")
    made.add("t.png", GLIOMA, png(a_head(7)), split=Split.TEST)
    made.add("l.png", PITUITARY, png(a_head(8)), split=Split.TRAIN)
    assert not warned(made.audited(), "The Testing part has no slice")
    assert not warned(heads().audited(), "Testing part")


def test_blank_slices_are_named_and_are_no_copies() -> None:
    made = heads()
    for number in range(2):
        black = a_head(0)[: 100 + number] * 0
        made.add(f"glioma/black{number}.png", GLIOMA, png(black))
    found = made.audited()
    assert found.audit.blank_count == 2
    assert found.audit.blank_examples == ("glioma/black0.png", "glioma/black1.png")
    assert found.audit.near_duplicate_count == 0
    assert warned(found, "2 slices are blank")


def test_a_shortcut_is_told_with_what_gives_it_away() -> None:
    made = Set()
    for seed in range(20):
        label, size = ((GLIOMA, 128), (PITUITARY, 96))[seed % 2]
        made.add(f"{seed}.png", label, png(a_head(seed, size)))
    (text,) = warned(made.audited(), "told from the file alone: 100% right from")
    assert "always naming the commonest class gives 50%" in text


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 slice is likely mislabelled"), (1200, "1,200 slices are likely mislabelled")],
)
def test_likely_label_errors_are_told_behind_what_is_certain(count: int, words: str) -> None:
    errors = LabelErrors(count=count, suspects=())
    audit = with_warnings(an_audit(label_errors=errors), heads().items)
    assert "with different labels" in audit.warnings[0]
    assert [words in text for text in audit.warnings].index(True) == 2
    assert "The Testing part leaks" in audit.warnings[3]


@pytest.mark.parametrize("errors", [None, LabelErrors(count=0, suspects=())])
def test_no_label_errors_are_no_warning(errors: LabelErrors | None) -> None:
    audit = with_warnings(an_audit(label_errors=errors), heads().items)
    assert not any("mislabelled" in text for text in audit.warnings)


def test_what_is_the_matter_with_masks_is_told() -> None:
    made = heads()
    made.items = [replace(item, mask_sha256=None) for item in made.items]
    made.items[0] = replace(made.items[0], mask_sha256="m")
    refused = (
        MaskFound(path="x.png", fault=MaskFault.MISSING),
        MaskFound(path="y.png", fault=MaskFault.SHADES),
        MaskFound(path="z.png", fault=MaskFault.SHADES),
    )
    odd = [MaskFound(path=made.items[0].path, fault=MaskFault.SMALL)]
    found = audit_dataset(made.items, made.looks, LeftOutByCause(masks=refused), odd)
    assert warned(
        found,
        "3 files were left out, because masks cannot be used (has several shades: 2; is not "
        "there: 1). Mend",
    )
    assert warned(found, "odd masks (marks hardly a pixel of the head: 1)")
    assert warned(found, "5 slices with a tumour have no mask")
    assert found.audit.unreadable_count == 0


def test_without_masks_nothing_is_said_of_them() -> None:
    made = heads()
    assert not warned(made.audited(), "mask")
    unaudited = with_warnings(an_audit(masks=None, unnamed_count=0), made.items)
    assert not [text for text in unaudited.warnings if "mask" in text]


def test_a_picture_that_no_manifest_names_is_still_told_after_a_cross_validation() -> None:
    audit = with_warnings(an_audit(), heads().items)
    (told,) = (text for text in audit.warnings if "does not name" in text)
    assert told.startswith(
        "1 picture was left out, because manifest.csv does not name it: glioma/8.png. Name there"
    )


def test_labels_that_contradict_their_folder_are_told_with_an_example() -> None:
    made = heads()
    for number, path in enumerate(("Glioma_Tumor/axial/x.png", "gliomas/y.png")):
        made.add(path, PITUITARY, png(a_head(20 + number)))
    made.add("healthy/glioma/z.png", GLIOMA, png(a_head(30)))
    made.add("scans/glioma.png", PITUITARY, png(a_head(31)))
    (told,) = warned(made.audited(), "folders of another class")
    assert told.startswith("2 slices lie in folders of another class than manifest.csv says: ")
    assert "Glioma_Tumor/axial/x.png is labelled pituitary" in told


def test_one_label_that_contradicts_its_folder_is_told() -> None:
    made = heads()
    made.add("glioma/x.png", PITUITARY, png(a_head(20)))
    assert warned(made.audited(), "1 slice lies in a folder of another class")


def test_an_imbalance_is_told() -> None:
    made = heads(4)
    for seed in range(10, 17):
        made.add(f"{seed}.png", GLIOMA, png(a_head(seed)))
    found = made.audited()
    assert found.audit.class_ratio == 4.5
    assert warned(found, "4.5 times as many slices")


def test_only_the_commonest_sizes_are_listed() -> None:
    made = heads()
    for size in range(12):
        made.add(f"{size}.png", GLIOMA, png(a_head(20 + size, 60 + size)))
    audit = made.audited().audit
    assert (audit.size_count, len(audit.sizes)) == (13, 10)
    assert (audit.sizes[0].width, audit.sizes[0].count) == (128, 6)
