"""The command line."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.loads import ClosedLoop, Load, OpenLoop, Overload, Study
from benchmarks.load.system import Timing
from workers.starter import STARTER

RESULT: Final = Path(__file__).resolve().parents[1] / "results" / "load"
WORK: Final = Path("~/.cache/braintumor-benchmarks")
MOST_CONCURRENT: Final = 64
BARE: Final = "bare"
MLSERVER: Final = "mlserver"
_PEERS: Final = (BARE, MLSERVER)
_EPILOG: Final = """\
Tuning by BRAINTUMOR_INFERENCE_DEVICE, _PRECISION and _STREAMS holds for the service and for the
bare runtime. Let nothing else run meanwhile. With the defaults a run takes about twenty minutes.
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    loads: Sequence[Load | Overload]
    timing: Timing
    rounds: int
    scans: Path | None
    scan_count: int
    image_size: int | None
    starter: Path
    database_url: str | None
    without: frozenset[str]
    work: Path
    output: Path


def parse(words: Sequence[str] | None = None) -> Plan:
    """The plan that the command line asks for; ends the program if that cannot be understood."""
    parser = _parser()
    given = parser.parse_args(words)
    loads: list[Load | Overload] = [ClosedLoop(concurrency) for concurrency in given.concurrency]
    loads += [OpenLoop(rate) for rate in given.rate]
    loads += [Study(slices) for slices in given.study]
    if not loads:
        parser.error("there is no load: give --concurrency, --rate or --study")
    loads += [Overload(factor) for factor in given.overload if given.concurrency]
    if set(given.without) == set(_PEERS):
        parser.error("nothing is left to compare with")
    return Plan(
        loads=loads,
        timing=Timing(warm_up=given.warm_up, measured=given.seconds),
        rounds=given.rounds,
        scans=given.scans,
        scan_count=given.scan_count,
        image_size=given.image_size,
        starter=given.starter,
        database_url=given.database_url,
        without=frozenset(given.without),
        work=given.work.expanduser(),
        output=given.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description="Compare this service under load with the bare runtime and with MLServer.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--concurrency",
        type=_whole(1, MOST_CONCURRENT),
        nargs="*",
        default=[1, 16, 64],
        metavar="N",
        help=f"closed loops, of N callers each, 1 to {MOST_CONCURRENT} (default: 1 16 64)",
    )
    add(
        "--rate",
        type=_above_zero,
        nargs="*",
        default=[30.0],
        metavar="R",
        help="open loops, of R requests a second each (default: 30)",
    )
    add(
        "--study",
        type=_whole(1),
        nargs="*",
        default=[500],
        metavar="N",
        help="studies of N slices each, by one caller in one stream (default: 500)",
    )
    add(
        "--overload",
        type=_above_zero,
        nargs="*",
        default=[2.0],
        metavar="F",
        help="open loops at F times what the closed loops reached, service only (default: 2)",
    )
    add("--seconds", type=_above_zero, default=10.0, help="measured a load (default: 10)")
    add("--warm-up", type=_above_zero, default=3.0, help="seconds before that (default: 3)")
    add("--rounds", type=_whole(1), default=5, help="pairs of each comparison (default: 5)")
    add("--scans", type=Path, metavar="DIR", help="real pictures (default: synthetic slices)")
    add("--scan-count", type=_whole(1), default=64, help="different pictures (default: 64)")
    add(
        "--image-size",
        type=_whole(32, 1024),
        metavar="PIXELS",
        help="run the network at another size (default: its own)",
    )
    add(
        "--starter",
        type=Path,
        default=STARTER,
        metavar="FILE",
        help="a model as make_starter writes it (default: the shipped classifier)",
    )
    add(
        "--database-url",
        metavar="URL",
        help="an empty PostgreSQL database: the service is also run with its audit log there",
    )
    add("--without", nargs="+", choices=_PEERS, default=[], help="leave a peer out")
    add("--work", type=Path, default=WORK, help=f"where MLServer is kept (default: {WORK})")
    add(
        "--output",
        type=Path,
        default=RESULT,
        metavar="PATH",
        help="PATH.json and PATH.md are written (default: benchmarks/results/load)",
    )
    return parser


def _whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    def parsed(text: str) -> int:
        number = int(text)
        if number < lowest or (highest is not None and number > highest):
            limits = f"from {lowest}" + (f" to {highest}" if highest is not None else "")
            raise argparse.ArgumentTypeError(f"{text} is not a whole number {limits}")
        return number

    return parsed


def _above_zero(text: str) -> float:
    number = float(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number
