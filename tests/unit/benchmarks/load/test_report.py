"""A run as tables and as JSON."""

import json
from pathlib import Path

from benchmarks.load.loads import Overload
from benchmarks.load.report import Run, as_json, as_markdown, write
from tests.unit.benchmarks.load.records import LOAD, a_record

RECORDS = [
    a_record("service", round_=1, completed=100, errors={"UNAVAILABLE": 2}),
    a_record("peer", round_=1, completed=50),
    a_record("service", round_=2, completed=300, errors={"UNAVAILABLE": 1, "ABORTED": 1}),
    a_record("peer", round_=2, completed=100),
]
RUN = Run(conditions={"commit": "abc"}, pairs=[("service", "peer")], records=RECORDS)


def rows(markdown: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with these cells, without its head."""
    lines = markdown.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first}"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_ratios_are_told_with_their_spread_and_number_of_pairs() -> None:
    (row,) = rows(as_markdown(RUN), "load | system / peer")
    assert row[:3] == [LOAD, "service / peer", "2.50 (2.00 to 3.00)"]
    assert row[-1] == "2"


def test_figures_are_medians_and_errors_are_sums() -> None:
    service, peer = rows(as_markdown(RUN), "load | system | requests/s | p50 | p90")
    assert service[1:3] == ["service", "200.0"]
    assert service[-1] == "1 ABORTED, 3 UNAVAILABLE"
    assert peer[1:3] == ["peer", "75.0"]
    assert peer[-1] == "0"


def test_what_is_answered_past_the_peak_is_told_where_it_was_tried() -> None:
    assert "Past the peak" not in as_markdown(RUN)
    overload = str(Overload(2.0))
    records = [*RECORDS, a_record("service", load=overload, completed=90)]
    text = as_markdown(Run(conditions={}, pairs=RUN.pairs, records=records))
    (row,) = rows(text, "load | system | requests/s | p50 | p99 | CPU")
    assert row[:3] == [overload, "service", "0.90 (0.90 to 0.90)"]
    assert not [row for row in rows(text, "load | system / peer") if row[0] == overload]
    figures = rows(text, "load | system | requests/s | p50 | p90")
    assert [row[1] for row in figures if row[0] == overload] == ["service"]


def test_each_process_has_its_cpu_and_memory() -> None:
    first, _ = rows(as_markdown(RUN), "load | system | process")
    # The median of 1 s for 100 requests and 1 s for 300.
    assert first == [LOAD, "service", "gateway", "6.7", "64.0"]


def test_what_was_never_answered_is_told_as_nothing() -> None:
    run = Run(conditions={}, pairs=RUN.pairs, records=[a_record("service"), a_record("peer")])
    silent = [a_record("service", completed=0), a_record("peer")]
    assert "2.50" not in as_markdown(run)
    (row,) = rows(
        as_markdown(Run(conditions={}, pairs=RUN.pairs, records=silent)), "load | system / peer"
    )
    assert row[2:] == ["-", "-", "-", "-", "0"]


def test_every_row_has_as_many_cells_as_its_head() -> None:
    for block in as_markdown(RUN).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_json_holds_every_measurement_and_ratio() -> None:
    found = json.loads(json.dumps(as_json(RUN)))
    assert found["conditions"] == {"commit": "abc"}
    assert len(found["records"]) == 4
    assert found["records"][0]["measurement"]["errors"] == {"UNAVAILABLE": 2}
    assert found["records"][0]["figures"]["requests/s"] == 100.0
    assert {r["metric"] for r in found["ratios"]} == {"requests/s", "p50", "p99", "CPU a request"}
    assert all(r["pairs"] == 2 for r in found["ratios"])


def test_two_files_are_written(tmp_path: Path) -> None:
    write(RUN, tmp_path / "new" / "load")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["load.json", "load.md"]
