"""Peak memory and pace of a training job: ``python -m benchmarks.training_memory DATA...``.

DATA are folders of slices with a ``manifest.csv``, taken together. A job with two epochs of the
default recipe is run to its end: slices taken in and decoded, trained, judged, exported and
reported. Its largest resident set is what the system tells of the process; where the time of each
epoch went is what the job tells its watchers. Writes ``results/training_memory.md``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.memory import peak_bytes
from benchmarks.provenance import provenance
from benchmarks.training import (
    a_job,
    add_training_arguments,
    recipe,
    say_everything,
    taken_in,
    work_place,
)
from core.training import EpochProgress
from workers.curation.gather import gather
from workers.learning.checkpoints import Checkpoints
from workers.learning.learn import learn
from workers.learning.runtime import configure_runtime

RESULTS: Final = Path(__file__).parent / "results" / "training_memory.md"
GIB: Final = 2**30
EPOCHS: Final = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="+")
    add_training_arguments(parser)
    arguments = parser.parse_args()
    spec = recipe(arguments.set, epochs=EPOCHS)
    settings, store = work_place(arguments.work)
    configure_runtime(arguments.threads)
    folder = settings.data_dir / "-".join(path.name for path in arguments.data)
    gather(arguments.data, folder)
    dataset = taken_in(folder, settings, store)
    before = peak_bytes()
    job = a_job(dataset, spec)
    Checkpoints(store, job.id).forget()
    epochs: list[EpochProgress] = []
    hooks = replace(say_everything(), on_epoch=epochs.append)
    learn(job, dataset, hooks, store=store, settings=settings, show_examples=False)
    when = provenance()
    RESULTS.write_text(
        "# Peak memory and pace of a training job\n\n"
        f"`python -m benchmarks.training_memory`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}; {spec.backbone}, image_size {spec.image_size}, batch_size "
        f"{spec.batch_size}.\n\n"
        "| slices | GiB before training | GiB at most |\n| --- | --- | --- |\n"
        f"| {dataset.item_count} | {before / GIB:.2f} | {peak_bytes() / GIB:.2f} |\n\n"
        + "\n".join(_pace_rows(epochs))
        + "\n"
    )


def _pace_rows(epochs: Sequence[EpochProgress]) -> list[str]:
    return [
        "| epoch | slices a second | cores busy while learning | waiting for slices | validating |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {e.epoch} | {e.images_per_second:.1f} | {e.busy_share:.3f} | {e.input_share:.3f} "
            f"| {e.validation_share:.3f} |"
            for e in epochs
        ),
    ]


if __name__ == "__main__":
    main()
