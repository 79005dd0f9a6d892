"""This service under load, beside the bare runtime and MLServer: ``python -m benchmarks.load``.

In each round every system is started alone, warmed up and put under every load; the order turns
round from round to round. The client is on the same cores, and its CPU time is told apart. All
serve the classifier that ships with the software:

* the bare runtime: decode, prepare and run in the threads of one process, without gRPC;
* this service by ``braintumor up``, with its audit log in SQLite, and with ``--database-url`` in
  PostgreSQL too (what PostgreSQL's own processes take is not counted);
* MLServer with the same graph in ONNX Runtime, over gRPC with adaptive batching; it is installed
  when it is first needed.

A study is one caller's, by ``ClassifyStream`` where there is that. Past its peak only this service
is loaded, which refuses what it cannot do in time. ``--image-size`` runs the network on larger
pictures than it was trained for: the graph is then a larger share of what a request takes.

Writes ``results/load.json``, ``load.md`` and ``load.svg`` anew after every round.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.load.arguments import Plan, parse
from benchmarks.load.comparison import Record, compare
from benchmarks.load.conditions import conditions
from benchmarks.load.launch import stop_children_when_killed
from benchmarks.load.model import shipped_model
from benchmarks.load.plots import draw
from benchmarks.load.report import Run, write
from benchmarks.load.scans import Scans, real_scans, synthetic_scans
from benchmarks.load.system import StartFailed
from benchmarks.load.systems import chosen_systems, pairs

_FAILED: Final = 1


def main() -> int:
    """The exit status."""
    plan = parse()
    stop_children_when_killed()
    try:
        with tempfile.TemporaryDirectory(prefix="load-") as folder:
            run(plan, Path(folder))
    except (StartFailed, ValueError) as error:
        print(error, file=sys.stderr)
        return _FAILED
    return 0


def run(plan: Plan, folder: Path) -> None:
    """Everything that the servers keep is in ``folder``. Raises ``StartFailed``, ``ValueError``."""
    scans = chosen_scans(plan)
    model = shipped_model(folder, plan.image_size, plan.starter)
    systems = chosen_systems(plan, folder, model, scans, say)
    under = conditions(plan, model, scans)
    records: list[Record] = []
    for complete in compare(systems, plan.loads, plan.timing, rounds=plan.rounds, say=say):
        records += complete
        done = Run(conditions=under, pairs=pairs(systems), records=records)
        write(done, plan.output)
        draw(done, plan.output)
    say(f"Written: {plan.output}.md and {plan.output}.json.")


def chosen_scans(plan: Plan) -> Scans:
    """Raises ``ValueError`` for a folder without pictures."""
    if plan.scans is None:
        return synthetic_scans(plan.scan_count)
    return real_scans(plan.scans, plan.scan_count)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
