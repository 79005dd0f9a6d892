"""The shipped model, as it is served, against pictures that are no slice of a head.

``python -m benchmarks.starter DATA``, where DATA holds data sets with a ``manifest.csv``. Only
slices that the model's ``held_out.json`` names are counted. Writes ``results/starter.md``.
"""

import argparse
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import provenance
from benchmarks.slices import encoded_slices
from benchmarks.strange_pictures import from_slices, made
from core.held_out import HeldOutPredictions
from core.prediction import Decision
from core.settings import Settings
from workers.evaluation.ood import OodModel
from workers.evaluation.ranking import auroc
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import prepare
from workers.inference.answers import calibrated_probabilities, decide
from workers.inference.runtime import Runtime, RuntimeLoader, choose_runtime
from workers.model_artefact import FEATURES_NAME, GRAPH, HELD_OUT, LOGITS_NAME, OOD
from workers.starter import STARTER, Starter, read_starter

RESULTS: Final = Path(__file__).parent / "results" / "starter.md"
LIMITS: Final = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)
STRANGE: Final = 420
OF_SLICES: Final = 80


class Served:
    """The starter behind a runtime: unless another is given, the one that would serve it."""

    def __init__(self, starter: Starter, load: RuntimeLoader | None = None) -> None:
        self._calibration = starter.manifest.calibration
        self._size = starter.manifest.image_size
        load = load or choose_runtime(Settings.from_environment({}))
        self._runtime: Runtime = load(
            starter.files[GRAPH], self._size, (LOGITS_NAME, FEATURES_NAME)
        )
        self._strangers = OodModel.from_bytes(starter.files[OOD])

    def answer(self, grey: NDArray[np.uint8]) -> tuple[tuple[float, ...], Decision, float]:
        """Probabilities, decision, and how strange the picture is."""
        pixels = prepare(grey, self._size).pixels[None]
        raw = self._runtime.run(pixels)
        logits, features = raw[LOGITS_NAME], raw[FEATURES_NAME]
        probabilities = calibrated_probabilities(logits[0], self._calibration.temperature)
        score = float(self._strangers.score(features)[0])
        strange = bool(self._strangers.strange(features)[0])
        return probabilities, decide(probabilities, self._calibration, strange=strange), score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    starter = read_starter(STARTER)
    held_out = HeldOutPredictions.from_json(starter.files[HELD_OUT])
    known = {item.sha256 for item in held_out.slices}
    pictures = held_out_pictures(data, known)
    served = Served(starter)
    with ThreadPoolExecutor(2) as pool:
        ordinary = list(pool.map(served.answer, pictures))
        strange = [*made(STRANGE, seed=0), *from_slices(pictures[:OF_SLICES], seed=0)]
        answers = list(pool.map(lambda pair: served.answer(pair[1]), strange))
    kinds = [kind for kind, _ in strange]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(report(starter, ordinary, kinds, answers))


def held_out_pictures(data: Path, known: set[str]) -> list[NDArray[np.uint8]]:
    """The held-out slices' pictures, found again by their hashes."""
    return [decode_grey(s.image, LIMITS) for s in encoded_slices(data) if s.sha256 in known]


Answer = tuple[tuple[float, ...], Decision, float]


def report(
    starter: Starter, ordinary: list[Answer], kinds: list[str], answers: list[Answer]
) -> str:
    when = provenance()
    usual = np.array([score for _, _, score in ordinary])
    strange = np.array([score for _, _, score in answers])
    by_kind: dict[str, list[Answer]] = defaultdict(list)
    for kind, answer in zip(kinds, answers, strict=True):
        by_kind[kind].append(answer)
    refused = Counter(decision for _, decision, _ in ordinary)[Decision.OUT_OF_DISTRIBUTION]
    lines = [
        "# The starter model against strange pictures\n",
        f"`python -m benchmarks.starter`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}; model {starter.version.name}.\n",
        f"AUROC of {len(strange)} strange pictures against {len(usual)} held-out slices: "
        f"{auroc(strange, usual):.4f}. Held-out slices refused: {refused / len(usual):.4f}.\n",
        "| kind | pictures | AUROC | refused | accepted |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, found in sorted(by_kind.items()):
        decisions = Counter(decision for _, decision, _ in found)
        scores = np.array([score for _, _, score in found])
        share = partial(lambda d, n: d / n, n=len(found))
        lines.append(
            f"| {kind} | {len(found)} | {auroc(scores, usual):.4f} "
            f"| {share(decisions[Decision.OUT_OF_DISTRIBUTION]):.3f} "
            f"| {share(decisions[Decision.ACCEPTED]):.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
