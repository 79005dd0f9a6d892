"""Peak memory of a training job: ``python -m benchmarks.training_memory DATA...``.

DATA are folders of slices with a ``manifest.csv``, taken together. A job with two epochs of the
default recipe is run to its end: slices taken in and decoded, trained, judged, exported and
reported. Its largest resident set is what the system tells of the process. Writes
``results/training_memory.md``.
"""

import argparse
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
    learn(job, dataset, say_everything(), store=store, settings=settings, show_examples=False)
    when = provenance()
    RESULTS.write_text(
        "# Peak memory of a training job\n\n"
        f"`python -m benchmarks.training_memory`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}; {spec.backbone}, image_size {spec.image_size}, batch_size "
        f"{spec.batch_size}.\n\n"
        "| slices | GiB before training | GiB at most |\n| --- | --- | --- |\n"
        f"| {dataset.item_count} | {before / GIB:.2f} | {peak_bytes() / GIB:.2f} |\n"
    )


if __name__ == "__main__":
    main()
