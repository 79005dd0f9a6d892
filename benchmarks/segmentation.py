"""The shipped classifier and segmenter as they are served: ``python -m benchmarks.segmentation``.

``DATA`` holds data sets, each a folder with a ``manifest.csv`` (path, label, mask). Counted are
slices that neither model learned from: those with a tumour that ``held_out_outlines.json`` of the
segmenter names, and the healthy ones that ``held_out.json`` of the classifier names. Both models
run as one batch of a worker does, so a slice that the classifier takes for healthy gets no region.
Writes ``results/segmentation.md``.

* Dice and boxes, of slices with a tumour: of the segmenter alone as it was judged when it was made,
  and behind the gate. Boxes in healthy slices are told apart, as the share that has any.
* Pointing game (Zhang et al., IJCV 2018, "Top-down Neural Attention by Excitation Backprop"): how
  often the strongest place of the classifier's activation map lies in the tumour, and how often the
  segmenter's most certain pixel does.
* Latency: one slice after the other, classify alone and with regions in turn.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.provenance import provenance
from benchmarks.slices import encoded_slices
from core.held_out import HeldOutPredictions
from core.held_out_outlines import HeldOutOutlines
from core.labels import TumourLabel
from core.messages import InferenceBatch, InferenceItem, Segmenter
from core.prediction import Box, MaskFormat, Prediction
from core.registry import SegmentationEvaluation
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from workers.evaluation.boxes import BoxPrecision, ScoredBox, box_precision
from workers.evaluation.outlines import agreement
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.masks import decode_mask, on_input
from workers.imaging.preprocess import prepare
from workers.imaging.regions import boxes_of
from workers.inference.batch import BatchRunner
from workers.inference.runtime import choose_runtime
from workers.inference.sessions import ModelSessions, load_model
from workers.model_artefact import (
    HELD_OUT,
    HELD_OUT_OUTLINES,
    MASK_NAME,
    store_model,
)
from workers.starter import STARTER, STARTER_SEGMENTER, Starter, read_starter

RESULTS: Final = Path(__file__).parent / "results" / "segmentation.md"
PASSES: Final = 5
TIMED: Final = 60
"""Slices in each pass."""
ALL_DAY: Final = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """An encoded slice; ``mask`` (height, width) of its tumour, None for a healthy one."""

    image: bytes
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was answered to a case: ``dice`` is 0 if a tumour was not outlined."""

    dice: float | None
    regions: int
    true: tuple[Box, ...]
    boxes: tuple[ScoredBox, ...]
    map_points: bool
    segmenter_points: bool


class Served:
    """Both starters behind what a worker answers with."""

    def __init__(self, classifier: Starter, segmenter: Starter, folder: Path) -> None:
        settings = Settings.from_environment({}, data_dir=folder)
        store = FsspecArtefactStore(settings.artefact_url)
        self._classifier, self._segmenter = (
            store_model(store, starter.manifest, starter.files)
            for starter in (classifier, segmenter)
        )
        self._limits = ImageLimits.of(settings)
        self._sessions = ModelSessions(
            partial(load_model, store, choose_runtime(settings)), capacity=2
        )
        streams = ThreadPoolExecutor(settings.inference_streams)
        self._runner = BatchRunner(self._sessions, self._limits, streams)

    def answer(self, image: bytes, *, regions: bool, explained: bool) -> Prediction:
        """The answer to one picture, as one batch."""
        item = InferenceItem(
            image=image,
            deadline=time.time() + ALL_DAY,
            include_activation_map=explained,
            mask_format=MaskFormat.PNG if regions and explained else None,
        )
        batch = InferenceBatch(
            id=uuid4().hex,
            reply_to="",
            model_version="classifier",
            digest=self._classifier,
            items=(item,),
            segmenter=Segmenter(version="segmenter", digest=self._segmenter) if regions else None,
        )
        (result,) = self._runner.run(batch)
        if not isinstance(result, Prediction):
            raise result
        if result.regions_error is not None:
            raise result.regions_error
        return result

    def tumour_map(self, image: bytes) -> NDArray[np.float32]:
        """The segmenter's probabilities (height, width) on the picture, without the gate."""
        model = self._sessions.get(self._segmenter)
        grey = decode_grey(image, self._limits)
        ready = prepare(grey, model.manifest.image_size)
        square = model.runtime.run(ready.pixels[None])[MASK_NAME][0, :, :, 0]
        height, width = grey.shape
        return on_input(np.asarray(square, np.float32), ready.geometry, width, height)

    def examine(self, case: Case) -> Found:
        answer = self.answer(case.image, regions=True, explained=True)
        regions = answer.regions or ()
        if case.mask is None:
            return Found(
                dice=None,
                regions=len(regions),
                true=(),
                boxes=(),
                map_points=False,
                segmenter_points=False,
            )
        outline = np.zeros(case.mask.shape, bool)
        for region in regions:
            assert region.mask is not None
            outline |= _pixels(region.mask.data) > 0
        return Found(
            dice=agreement(outline, case.mask).dice,
            regions=len(regions),
            true=boxes_of(case.mask),
            boxes=tuple(ScoredBox(box=r.box, score=r.score) for r in regions),
            map_points=_points(_pixels(answer.activation_map or b""), case.mask),
            segmenter_points=_points(self.tumour_map(case.image), case.mask),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    classifier, segmenter = read_starter(STARTER), read_starter(STARTER_SEGMENTER)
    cases = list(held_out_cases(data, classifier, segmenter))
    with tempfile.TemporaryDirectory() as folder:
        served = Served(classifier, segmenter, Path(folder))
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(served.examine, cases))
        timed = [case for case in cases if case.mask is not None][:TIMED]
        alone, outlined = alternating_seconds(served, timed)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(report((classifier, segmenter), found, alone, outlined))


def held_out_cases(data: Path, classifier: Starter, segmenter: Starter) -> Iterator[Case]:
    """The pictures of both models' held-out slices, found again by their hashes."""
    outlines = HeldOutOutlines.from_json(segmenter.files[HELD_OUT_OUTLINES])
    answers = HeldOutPredictions.from_json(classifier.files[HELD_OUT])
    outlined = {item.sha256 for item in outlines.slices}
    _check_apart(classifier, segmenter, outlined, {s.sha256 for s in answers.slices})
    healthy = {s.sha256 for s in answers.slices if s.label is TumourLabel.NO_TUMOR}
    limits = ImageLimits.of(Settings.from_environment({}))
    for found in encoded_slices(data):
        mask = found.row.get("mask")
        if found.sha256 in outlined and mask:
            marked = decode_mask((found.folder / mask).read_bytes(), limits)
            yield Case(image=found.image, mask=marked)
        elif found.sha256 in healthy:
            yield Case(image=found.image)


def _check_apart(
    classifier: Starter, segmenter: Starter, outlined: set[str], answered: set[str]
) -> None:
    """Both must have been split alike, or one has learned from what the other is judged on."""
    same_data = classifier.manifest.dataset_digest == segmenter.manifest.dataset_digest
    if not same_data or not outlined <= answered:
        raise SystemExit("The two starters were not held out from the same slices.")


def alternating_seconds(
    served: Served, cases: Sequence[Case]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of each pass: seconds for a picture, classify alone and with regions in turn."""
    passes = []
    for _ in range(PASSES):
        pairs = []
        for case in cases:
            pair = []
            for regions in (False, True):
                started = time.perf_counter()
                served.answer(case.image, regions=regions, explained=False)
                pair.append(time.perf_counter() - started)
            pairs.append(pair)
        passes.append(np.median(pairs, axis=0))
    alone, outlined = np.array(passes).T
    return alone, outlined


def report(
    starters: tuple[Starter, Starter],
    found: Sequence[Found],
    alone: NDArray[np.float64],
    outlined: NDArray[np.float64],
) -> str:
    when = provenance()
    classifier, segmenter = starters
    judged = segmenter.version.evaluation
    assert isinstance(judged, SegmentationEvaluation)
    tumours = [f for f in found if f.dice is not None]
    healthy = [f for f in found if f.dice is None]
    gated = box_precision([f.true for f in tumours], [f.boxes for f in tumours])
    lines = [
        "# The starter models, outlining\n",
        f"`python -m benchmarks.segmentation`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}; {classifier.version.name}, {segmenter.version.name}; "
        f"{len(tumours)} slices with a tumour and {len(healthy)} healthy ones, of groups that "
        "neither learned from. Intervals are 95 %, over groups.\n",
        "| what | the segmenter alone | behind the classifier |",
        "| --- | --- | --- |",
        f"| Dice, mean | {_with_interval(judged, 'dice')} "
        f"| {np.mean([f.dice for f in tumours]):.4f} |",
        *_box_rows(judged, gated),
        f"| healthy slices with a region | {_with_interval(judged, 'healthy_with_regions')} "
        f"| {np.mean([f.regions > 0 for f in healthy]):.4f} |",
        "\n| pointing game | share in the tumour |",
        "| --- | --- |",
        f"| strongest place of the classifier's map | {_share(f.map_points for f in tumours)} |",
        f"| segmenter's surest pixel | {_share(f.segmenter_points for f in tumours)} |",
        "\n| by class | Dice, the segmenter alone | slices |",
        "| --- | --- | --- |",
        *(f"| {n} | {m.dice:.4f} | {m.support} |" for n, m in judged.per_class.items()),
        f"\nLatency of one slice, medians of {PASSES} passes in turn: {1e3 * np.median(alone):.1f} "
        f"ms classify alone, {1e3 * np.median(outlined):.1f} ms with regions, "
        f"{np.median(outlined / alone):.2f} times as long. Training took "
        f"{segmenter.version.train_seconds / 60:.0f} minutes.",
    ]
    return "\n".join(lines) + "\n"


def _box_rows(judged: SegmentationEvaluation, gated: BoxPrecision) -> list[str]:
    rows = (
        ("box mAP@50", "box_map_50", gated.at_50),
        ("box mAP@50:95", "box_map_50_95", gated.at_50_to_95),
    )
    return [
        f"| {heading}, of slices with a tumour | {_with_interval(judged, name)} | {behind:.4f} |"
        for heading, name, behind in rows
    ]


def _with_interval(judged: SegmentationEvaluation, name: str) -> str:
    interval = judged.intervals.get(name)
    between = f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""
    return f"{getattr(judged, name):.4f}{between}"


def _share(hits: Iterator[bool]) -> str:
    return f"{np.mean(list(hits)):.4f}"


def _points(map_: NDArray[np.generic], mask: NDArray[np.bool_]) -> bool:
    """Whether the middle of the strongest places, of which a picture may have many, is tumour."""
    rows, columns = np.nonzero(map_ == map_.max())
    return bool(mask[round(float(rows.mean())), round(float(columns.mean()))])


def _pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


if __name__ == "__main__":
    main()
