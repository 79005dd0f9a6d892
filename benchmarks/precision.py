"""What serving in few bits changes: ``python -m benchmarks.precision DATA``.

DATA holds data sets with a ``manifest.csv``. The shipped classifier answers every slice, and the
shipped segmenter every fifth, by ONNX Runtime in float32 (the graph that was compared with Keras
when it was exported), and as OpenVINO serves them in float32 and bfloat16. Most slices are ones
that the models learned from; those that they did not are counted by themselves, too. Writes
``results/precision.md``.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import provenance
from benchmarks.slices import encoded_slices
from benchmarks.starter import LIMITS, Answer, Served
from core.held_out import HeldOutPredictions
from workers.imaging.decode import decode_grey
from workers.imaging.preprocess import prepare
from workers.inference import onnx_runtime, openvino_runtime
from workers.inference.runtime import RuntimeLoader
from workers.model_artefact import GRAPH, HELD_OUT, MASK_NAME
from workers.starter import STARTER, STARTER_SEGMENTER, Starter, read_starter

RESULTS: Final = Path(__file__).parent / "results" / "precision.md"
REFERENCE: Final = "ONNX Runtime, float32"
OUTLINED_STEP: Final = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--step", type=int, default=1, help="take every so many-th slice only")
    arguments = parser.parse_args()
    RESULTS.write_text(report(*measured(arguments.data, arguments.step)))


def loaders() -> dict[str, RuntimeLoader]:
    return {
        REFERENCE: onnx_runtime.cpu_loader(),
        "OpenVINO, float32": openvino_runtime.loader(streams=1, precision="f32"),
        "OpenVINO, bfloat16": openvino_runtime.loader(streams=1, precision="bf16"),
    }


class Segmenter:
    """The shipped segmenter behind a runtime."""

    def __init__(self, starter: Starter, load: RuntimeLoader) -> None:
        self._size = starter.manifest.image_size
        assert starter.manifest.regions is not None
        self._threshold = starter.manifest.regions.threshold
        self._runtime = load(starter.files[GRAPH], self._size, (MASK_NAME,))

    def mask(self, grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
        pixels = prepare(grey, self._size).pixels[None]
        return self._runtime.run(pixels)[MASK_NAME][0] >= self._threshold


def measured(
    data: Path, step: int
) -> tuple[list[dict[str, Answer]], list[bool], dict[str, list[float]]]:
    """All answers, which slices were held out, and the overlaps of masks with the reference's."""
    starter = read_starter(STARTER)
    held_out = HeldOutPredictions.from_json(starter.files[HELD_OUT])
    unseen = {item.sha256 for item in held_out.slices}
    outliner = read_starter(STARTER_SEGMENTER)
    classifiers = {name: Served(starter, load) for name, load in loaders().items()}
    segmenters = {name: Segmenter(outliner, load) for name, load in loaders().items()}
    answers: list[dict[str, Answer]] = []
    is_unseen: list[bool] = []
    overlaps: dict[str, list[float]] = {}
    for number, (sha256, grey) in enumerate(pictures(data, step)):
        answers.append({name: served.answer(grey) for name, served in classifiers.items()})
        is_unseen.append(sha256 in unseen)
        if number % OUTLINED_STEP == 0:
            masks = {name: segmenter.mask(grey) for name, segmenter in segmenters.items()}
            for name, overlap in overlaps_of(masks).items():
                overlaps.setdefault(name, []).append(overlap)
    return answers, is_unseen, overlaps


def pictures(data: Path, step: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for number, found in enumerate(encoded_slices(data)):
        if number % step == 0:
            yield found.sha256, decode_grey(found.image, LIMITS)


def overlaps_of(masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    """Dice of each runtime's mask with the reference's; 1 where both are empty."""
    reference = masks[REFERENCE]
    return {name: dice(mask, reference) for name, mask in masks.items() if name != REFERENCE}


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def report(
    answers: Sequence[Mapping[str, Answer]],
    is_unseen: Sequence[bool],
    overlaps: Mapping[str, Sequence[float]],
) -> str:
    when = provenance()
    unseen = [found for found, new in zip(answers, is_unseen, strict=True) if new]
    rows = [
        "# What serving in few bits changes\n",
        f"`python -m benchmarks.precision`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}; see its docstring. Against {REFERENCE}.\n",
        "| runtime | slices | same label | same decision | largest difference of a probability "
        "| mean difference of the named label's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in overlaps:
        rows += [agreement(name, "all", answers), agreement(name, "held-out", unseen)]
    rows += [
        "\n| runtime | slices outlined | mean Dice with the reference's mask | lowest |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in overlaps.items():
        mean, low = float(np.mean(found)), min(found)
        rows.append(f"| {name} | {len(found)} | {mean:.4f} | {low:.3f} |")
    return "\n".join(rows) + "\n"


def agreement(name: str, which: str, answers: Sequence[Mapping[str, Answer]]) -> str:
    pairs = [(found[name], found[REFERENCE]) for found in answers]
    mine, theirs = (np.array([pair[side][0] for pair in pairs]) for side in (0, 1))
    named = theirs.argmax(axis=1)
    labels = (mine.argmax(axis=1) == named).mean()
    decisions = np.mean([ours[1] == reference[1] for ours, reference in pairs])
    differences = np.abs(mine - theirs)
    of_named = differences[np.arange(len(pairs)), named]
    return (
        f"| {name} | {len(pairs)}, {which} | {labels:.4f} | {decisions:.4f} "
        f"| {differences.max():.4f} | {of_named.mean():.5f} |"
    )


if __name__ == "__main__":
    main()
