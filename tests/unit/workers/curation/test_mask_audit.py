"""Findings about masks are counted by kind, and named."""

from core.datasets import DatasetItem, MaskFinding
from core.labels import TumourLabel
from tests.fakes.records import an_item
from workers.curation.mask_audit import MAX_NAMED, audit_masks
from workers.curation.mask_check import MaskFault, MaskFound

GLIOMA, HEALTHY = TumourLabel.GLIOMA, TumourLabel.NO_TUMOR


def item(
    path: str, mask: str | None, component: str = "", label: TumourLabel = GLIOMA
) -> DatasetItem:
    return an_item(path, mask_sha256=mask, component=component or path, label=label)


def found(fault: MaskFault, *paths: str) -> list[MaskFound]:
    return [MaskFound(path=path, fault=fault) for path in paths]


def test_each_kind_is_told_once_the_refused_first() -> None:
    items = [item("a.png", "1"), item("b.png", "2"), item("c.png", "3")]
    refused = [
        *found(MaskFault.MISSING, "z.png"),
        *found(MaskFault.SHADES, "y.png", "x.png"),
    ]
    audit = audit_masks(items, refused, found(MaskFault.SMALL, "a.png", "b.png", "c.png"))
    assert audit.findings == (
        MaskFinding(
            problem="has several shades", refused=True, count=2, examples=("x.png", "y.png")
        ),
        MaskFinding(problem="is not there", refused=True, count=1, examples=("z.png",)),
        MaskFinding(
            problem="marks hardly a pixel of the head",
            refused=False,
            count=3,
            examples=("a.png", "b.png", "c.png"),
        ),
    )
    assert audit.unmasked_count == 0


def test_only_some_are_named() -> None:
    paths = [f"{number:02}.png" for number in range(MAX_NAMED + 5)]
    (finding,) = audit_masks([], found(MaskFault.BLACK, *paths), ()).findings
    assert (finding.count, finding.examples) == (len(paths), tuple(paths[:MAX_NAMED]))


def test_what_was_left_out_in_the_end_has_no_odd_mask() -> None:
    audit = audit_masks([item("a.png", "1")], (), found(MaskFault.SMALL, "gone.png"))
    assert audit.findings == ()


def test_different_pictures_with_the_same_mask_are_odd() -> None:
    items = [item("a.png", "1"), item("b.png", "1"), item("c.png", "2")]
    (finding,) = audit_masks(items, (), ()).findings
    assert finding.problem == "is also the mask of another picture"
    assert finding.examples == ("a.png", "b.png")


def test_copies_and_healthy_slices_may_have_the_same_mask() -> None:
    items = [
        item("a.png", "1", component="same"),
        item("b.png", "1", component="same"),
        item("c.png", "black", label=HEALTHY),
        item("d.png", "black", label=HEALTHY),
    ]
    assert audit_masks(items, (), ()).findings == ()


def test_tumours_without_a_mask_are_counted_where_others_have_one() -> None:
    bare = [item("b.png", None), item("c.png", None), item("d.png", None, label=HEALTHY)]
    assert audit_masks([item("a.png", "1"), *bare], (), ()).unmasked_count == 2
    assert audit_masks(bare, (), ()).unmasked_count == 0
