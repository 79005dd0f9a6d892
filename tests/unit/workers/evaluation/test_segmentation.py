"""A segmenter's numbers, against some worked out by hand."""

from dataclasses import fields

import pytest

from core.labels import TumourLabel
from core.prediction import Box
from core.registry import SEGMENTATION_SCORES, SegmentationEvaluation
from workers.evaluation.boxes import ScoredBox
from workers.evaluation.metrics import SplitSizes
from workers.evaluation.outlines import Agreement
from workers.evaluation.segmentation import OutlinedSlice, held_out_outlines, judge_outlines

BOX = Box(x0=0, y0=0, x1=20, y1=20)


def with_tumour(
    dice: float, *, label: TumourLabel = TumourLabel.GLIOMA, group: str = "p1", area: int = 400
) -> OutlinedSlice:
    found = dice > 0
    return OutlinedSlice(
        sha256=f"of {group}",
        group=group,
        label=label,
        agreement=Agreement(
            dice=dice,
            iou=dice / (2 - dice),
            hd95=3.0 if found else None,
            lesions=2,
            lesions_found=1 if found else 0,
        ),
        area_px=area,
        true=(BOX,),
        found=(ScoredBox(box=BOX, score=0.9),) if found else (),
    )


def healthy(*, found: bool) -> OutlinedSlice:
    return OutlinedSlice(
        sha256="of h",
        group="h",
        label=TumourLabel.NO_TUMOR,
        agreement=None,
        area_px=0,
        true=(),
        found=(ScoredBox(box=BOX, score=0.6),) if found else (),
    )


def judged(*slices: OutlinedSlice) -> SegmentationEvaluation:
    sizes = SplitSizes(train=10, validation=5, test=0)
    return judge_outlines(slices, sizes=sizes, protocol="by hand", seed=0, resamples=50)


def test_means_and_medians_are_over_slices_with_a_tumour() -> None:
    found = judged(
        with_tumour(1.0), with_tumour(0.8, group="p2"), with_tumour(0.0), healthy(found=False)
    )
    assert found.dice == pytest.approx(0.6)
    assert found.dice_median == pytest.approx(0.8)
    assert found.hd95 == pytest.approx(3)
    assert found.missed_share == pytest.approx(1 / 3)
    assert found.lesion_recall == pytest.approx(2 / 6)
    assert found.box_map_50 == pytest.approx(67 / 101)
    assert (found.test_size, found.healthy_size) == (3, 1)
    assert not found.intervals, "of so few patients"


def test_patients_are_resampled_for_intervals() -> None:
    found = judged(*(with_tumour(n % 3 / 2, group=f"p{n}") for n in range(9)))
    for name in ("dice", "box_map_50", "box_map_50_95"):
        assert found.intervals[name].low <= getattr(found, name) <= found.intervals[name].high


def test_healthy_slices_count_by_themselves() -> None:
    found = judged(with_tumour(1.0), healthy(found=True), healthy(found=False))
    assert found.healthy_with_regions == pytest.approx(0.5)
    assert judged(with_tumour(1.0)).healthy_with_regions is None


def test_what_is_kept_for_comparisons_is_of_slices_with_a_tumour() -> None:
    slices = [with_tumour(0.8), healthy(found=True), with_tumour(0.0, group="p2")]
    kept = held_out_outlines(slices, "by hand")
    assert [(s.sha256, s.group, s.dice) for s in kept.slices] == [
        ("of p1", "p1", 0.8),
        ("of p2", "p2", 0.0),
    ]


def test_nothing_found_has_no_distance() -> None:
    assert judged(with_tumour(0.0)).hd95 is None


def test_classes_and_thirds_by_size() -> None:
    found = judged(
        with_tumour(0.3, area=10),
        with_tumour(0.6, area=100, label=TumourLabel.PITUITARY),
        with_tumour(0.9, area=1000, label=TumourLabel.PITUITARY),
    )
    assert found.per_class[TumourLabel.PITUITARY].dice == pytest.approx(0.75)
    assert found.per_class[TumourLabel.GLIOMA].support == 1
    assert TumourLabel.MENINGIOMA not in found.per_class
    assert [third.up_to_px for third in found.per_size] == [10, 100, 1000]
    assert [third.dice for third in found.per_size] == pytest.approx([0.3, 0.6, 0.9])


def test_without_a_tumour_there_is_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="outline"):
        judged(healthy(found=False))


def test_every_score_is_a_number_of_the_evaluation() -> None:
    assert set(SEGMENTATION_SCORES) <= {f.name for f in fields(SegmentationEvaluation)}
