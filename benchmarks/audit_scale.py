"""The audit log with a million rows: ``python -m benchmarks.audit_scale --work DIR``.

On SQLite and on PostgreSQL (the wheel that the tests use, with the configuration that it comes
with) a log of 18 months is built in DIR, or found there. Then:

- Pages of 100 records for each documented filter, and for some together, newest first: the first
  page, and one near the other end of what matches. Each is read 50 times through the use case,
  one after the other, with a new unit of work for each.
- Rows a second through the gateway's own audit writer, in groups as its workers answer them: by
  default two messages of eight pictures are in flight. Blocks of 4,800 rows go in alternation to
  the log and to a new database, and count until the database is closed; the ratio is that of the
  neighbours.
- An export of everything in a process of its own: its largest resident set at the end, and that
  when the first page was sent.

Nothing else should run on the machine. Writes ``results/audit_scale.md``.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.audit_rows import SPAN, START, entries
from benchmarks.audit_stores import Place, fill, postgres_place, sqlite_place
from benchmarks.memory import peak_bytes
from benchmarks.provenance import provenance
from core.paging import Cursor, PageRequest
from core.prediction import AuditEntry, AuditRecord
from core.settings import Settings
from db.engine import create_store_engine
from db.mappers import to_us
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from services.adapters.audit_writer import GroupCommitAuditWriter
from services.bootstrap import SystemClock
from services.converters import prediction_message
from services.filtering import parse_filter
from services.usecases.audit import AuditUseCases

RESULTS: Final = Path(__file__).parent / "results" / "audit_scale.md"
PAGE: Final = 100
REPEATS: Final = 50
LATE: Final = 3
"""So many pages from the other end is the late one."""
BLOCK: Final = 4800
BLOCKS: Final = 8
MIB: Final = 2**20


# --- pages ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Milliseconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class PageTimes:
    """``late`` is None where what matches is fewer than ``LATE`` pages."""

    where: str
    first: Times
    late: Times | None


def questions(some: AuditRecord) -> list[str]:
    """Filters; ``some`` is an answer to a request with an id, from the middle of the log."""
    return [
        "",
        "label = glioma",
        "decision = ACCEPTED",
        "decision = OUT_OF_DISTRIBUTION",
        "outcome = ANSWERED",
        "outcome = FAILED",
        "status = OK",
        "status = DEADLINE_EXCEEDED",
        "model_version = classifier-7",
        "model_version = classifier-1",
        f"image_sha256 = {some.image_sha256}",
        "caller = station-01",
        "caller = station-40",
        "caller = nobody",
        f"request_id = {some.request_id}",
        "create_time > 2026-03-01",
        "create_time < 2025-03-01",
        "create_time >= 2025-06-01 AND create_time < 2025-07-01",
        "label != glioma",
        "outcome != ANSWERED",
        "label = glioma AND create_time < 2025-03-01",
        "label = pituitary AND caller = station-20",
        "model_version = classifier-1 AND caller = station-01",
        "status = UNAVAILABLE AND caller = station-01",
        "decision = ABSTAINED AND label = no_tumor",
        "label = glioma OR label = meningioma",
        "status = NOT_FOUND OR caller = station-40",
        # Both are common, and no row has both.
        "label = glioma AND outcome = REFUSED",
        # The newest seventh of the log does not match.
        "model_version != classifier-7",
    ]


def page_times(use_cases: AuditUseCases) -> list[PageTimes]:
    return [_page_times(use_cases, where) for where in questions(_some_answer(use_cases))]


def _some_answer(use_cases: AuditUseCases) -> AuditRecord:
    middle = (to_us(START + SPAN / 2), 0)
    page = use_cases.list(PageRequest(size=PAGE, after=middle), None, newest_first=False)
    return next(r for r in page.items if r.label is not None and r.request_id is not None)


def _page_times(use_cases: AuditUseCases, where: str) -> PageTimes:
    late = _late(use_cases, where)
    return PageTimes(
        where=where,
        first=_times(use_cases, where, None),
        late=None if late is None else _times(use_cases, where, late),
    )


def _late(use_cases: AuditUseCases, where: str) -> Cursor | None:
    """The cursor behind which the last pages lie."""
    size = LATE * PAGE
    page = use_cases.list(PageRequest(size=size), parse_filter(where), newest_first=False)
    if len(page.items) < size:
        return None
    return to_us(page.items[-1].create_time), page.items[-1].sequence


def _times(use_cases: AuditUseCases, where: str, after: Cursor | None) -> Times:
    tree, request = parse_filter(where), PageRequest(size=PAGE, after=after)
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        use_cases.list(request, tree, newest_first=True)
        seconds.append(time.perf_counter() - begin)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return Times(p50=statistics.median(seconds) * 1e3, p95=p95 * 1e3)


# --- rows a second --------------------------------------------------------------------------------


@dataclass(frozen=True)
class InsertRates:
    request_ids: str
    full: Sequence[float]
    empty: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        return [full / empty for full, empty in zip(self.full, self.empty, strict=True)]


def insert_rates(place: Place, request_ids: str, random_ids: float) -> InsertRates:
    later = entries(2 * BLOCKS * BLOCK, seed=1, start=START + SPAN, random_ids=random_ids)
    full: list[float] = []
    empty: list[float] = []
    for number in range(BLOCKS):
        url = place.new_url()
        upgrade(url)
        targets = [(full, place.full_url), (empty, url)]
        for rates, target in targets if number % 2 else targets[::-1]:
            rates.append(_insert_rate(target, list(islice(later, BLOCK))))
    return InsertRates(request_ids, full, empty)


def _insert_rate(url: str, block: Sequence[AuditEntry]) -> float:
    with store(url) as uow_factory:
        with uow_factory() as uow:  # connect
            uow.audit.head()
        begin = time.perf_counter()
        asyncio.run(_write(uow_factory, block))
    return len(block) / (time.perf_counter() - begin)


async def _write(uow_factory: SqlUnitOfWorkFactory, block: Sequence[AuditEntry]) -> None:
    writer = GroupCommitAuditWriter(uow_factory)
    waiting = iter(block)

    async def messages() -> None:
        while answered := list(islice(waiting, Settings.max_batch_size)):
            await asyncio.gather(*map(writer.record, answered))

    await asyncio.gather(*(messages() for _ in range(Settings.max_batches_in_flight)))
    await writer.close()


# --- exporting ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """``first_mib`` is the largest resident set until the first page was sent."""

    rows: int
    seconds: float
    first_mib: float
    peak_mib: float


def export_everything(url: str) -> Export:
    """In a process of its own, whose memory is the export's."""
    command = [sys.executable, "-m", "benchmarks.audit_scale", "--export", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Export(**json.loads(done.stdout))


def export_here(url: str) -> Export:
    rows, first = 0, 0.0
    begin = time.perf_counter()
    with store(url) as uow_factory:
        for page in _use_cases(uow_factory).export(None):
            for record, reviews in page:
                prediction_message(record, reviews).SerializeToString()
            rows += len(page)
            first = first or _peak_mib()
    return Export(rows, time.perf_counter() - begin, first, _peak_mib())


def _peak_mib() -> float:
    return peak_bytes() / MIB


# --- all of it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    database: str
    pages: Sequence[PageTimes]
    inserts: Sequence[InsertRates]
    export: Export


@contextmanager
def store(url: str) -> Iterator[SqlUnitOfWorkFactory]:
    factory = SqlUnitOfWorkFactory(create_store_engine(url))
    try:
        yield factory
    finally:
        factory.close()


def _use_cases(uow_factory: SqlUnitOfWorkFactory) -> AuditUseCases:
    return AuditUseCases(uow_factory=uow_factory, clock=SystemClock())


def findings(place: Place, rows: int) -> Findings:
    fill(place.full_url, rows)
    with store(place.full_url) as uow_factory:
        pages = page_times(_use_cases(uow_factory))
    inserts = [
        insert_rates(place, "in order of time", random_ids=0),
        insert_rates(place, "random", random_ids=1),
    ]
    return Findings(place.name, pages, inserts, export_everything(place.full_url))


def table(found: Findings) -> str:
    export = found.export
    lines = [
        f"## {found.database}",
        "",
        "| filter | first page p50 | p95 | late page p50 | p95 |",
        "| --- | --- | --- | --- | --- |",
        *map(_page_line, found.pages),
        "",
        "| request ids | rows/s, log | rows/s, new database | ratio (lowest, highest) |",
        "| --- | --- | --- | --- |",
        *map(_insert_line, found.inserts),
        "",
        f"Export: {export.rows:,} records in {export.seconds:.0f} s; {export.first_mib:.0f} MiB "
        f"when the first page was sent, {export.peak_mib:.0f} MiB at most.",
        "",
    ]
    return "\n".join(lines)


def _page_line(page: PageTimes) -> str:
    where = f"`{page.where}`" if page.where else "none"
    cells = [where, *_cells(page.first), *(["-", "-"] if page.late is None else _cells(page.late))]
    return f"| {' | '.join(cells)} |"


def _cells(times: Times) -> list[str]:
    return [f"{times.p50:.1f}", f"{times.p95:.1f}"]


def _insert_line(rates: InsertRates) -> str:
    full, empty = statistics.median(rates.full), statistics.median(rates.empty)
    ratios = rates.ratios
    span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
    return f"| {rates.request_ids} | {full:.0f} | {empty:.0f} | {span} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("audit_scale"), help="keeps the logs")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--export", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.export:
        print(json.dumps(asdict(export_here(arguments.export))))
        return
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    found = [findings(sqlite_place(work), arguments.rows)]
    with postgres_place(work) as place:
        found.append(findings(place, arguments.rows))
    when = provenance()
    RESULTS.write_text(
        f"# The audit log with {arguments.rows:,} records\n\n"
        f"`python -m benchmarks.audit_scale`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}. Milliseconds for a page of {PAGE} records.\n\n"
        + "\n".join(map(table, found))
    )


if __name__ == "__main__":
    main()
