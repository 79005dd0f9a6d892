"""The hash chain: whatever is done to the log, the first bad row is named."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.audit_chain import GENESIS, ChainHead, canonical_form, row_hash, verify_chain
from core.labels import TumourLabel
from core.prediction import AuditEntry, AuditRecord, Decision, Outcome
from tests.fakes.records import a_refusal, a_region, an_entry, an_outlined_entry


def chained(entry: AuditEntry, before: ChainHead) -> AuditRecord:
    sequence = before.sequence + 1
    fields = {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}
    return AuditRecord(
        **fields,
        sequence=sequence,
        previous_hash=before.row_hash,
        row_hash=row_hash(entry, sequence, before.row_hash),
    )


def a_log(length: int) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    head = ChainHead()
    for number in range(1, length + 1):
        make = (a_refusal, an_entry, an_outlined_entry)[number % 3]
        records.append(chained(make(id=f"p{number}", latency_us=number), head))
        head = head_of(records)
    return records


def head_of(records: Sequence[AuditRecord]) -> ChainHead:
    if not records:
        return ChainHead()
    return ChainHead(sequence=records[-1].sequence, row_hash=records[-1].row_hash)


def rehashed(record: AuditRecord) -> AuditRecord:
    """The record with a hash that fits its new content, as a careful forger would write it."""
    digest = row_hash(record, record.sequence, record.previous_hash)
    return replace(record, row_hash=digest)


CHANGES: dict[str, Any] = {
    "id": "other",
    "create_time": datetime(2031, 1, 1, tzinfo=UTC),
    "request_id": "0b4c1f0e-57a4-4c3c-9c1f-2f8f3f0a2a11",
    "caller": "bob",
    "image_sha256": "f" * 64,
    "image_bytes": 1,
    "model_version": "m2",
    "probabilities": (1.0, 0.0, 0.0, 0.0),
    "label": TumourLabel.MENINGIOMA,
    "decision": Decision.OUT_OF_DISTRIBUTION,
    "outcome": Outcome.FAILED,
    "status": "UNKNOWN",
    "reason": "WHY_NOT",
    "message": "nothing happened",
    "latency_us": 99,
    "software_version": "9.9.9",
    "segmenter_version": "s2",
    "regions": (a_region(),),
    "cached": True,
    "sequence": 77,
    "previous_hash": "e" * 64,
}


def test_every_field_is_tried_below() -> None:
    assert set(CHANGES) == set(AuditRecord.__dataclass_fields__) - {"row_hash"}


# --- the canonical form -----------------------------------------------------------------------


@pytest.mark.parametrize("field", CHANGES)
def test_the_hash_covers_every_field(field: str) -> None:
    (record,) = a_log(1)
    changed = replace(record, **{field: CHANGES[field]})
    assert row_hash(changed, changed.sequence, changed.previous_hash) != record.row_hash


def test_none_and_empty_are_different() -> None:
    hashes = {row_hash(an_entry(id="p", message=m), 1, GENESIS) for m in (None, "", "None")}
    assert len(hashes) == 3


def test_the_canonical_form_is_compact_sorted_utf_8_json() -> None:
    text = canonical_form(a_refusal(id="p1"), 7, GENESIS)
    fields = json.loads(text)
    assert list(fields) == sorted(fields)
    assert (
        text
        == json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    assert "früh \N{BRAIN}".encode() in text
    assert (fields["sequence"], fields["label"], fields["outcome"]) == (7, None, "REFUSED")


def test_the_hash_is_what_any_other_program_would_compute() -> None:
    entry = an_entry(id="p1")
    assert (
        row_hash(entry, 1, GENESIS) == hashlib.sha256(canonical_form(entry, 1, GENESIS)).hexdigest()
    )


def test_the_form_is_fixed_for_ever() -> None:
    """Logs that were written by an earlier version must verify for ever."""
    entry = an_entry(id="p1", probabilities=(0.1, 0.2, 0.3, 0.4))
    assert canonical_form(entry, 1, GENESIS).decode() == (
        '{"caller":"ann","create_time_us":1772600767891011,"decision":"ACCEPTED","id":"p1",'
        f'"image_bytes":1234,"image_sha256":"{"a" * 64}","label":"pituitary","latency_us":19000,'
        '"message":null,"model_version":"m1","outcome":"ANSWERED",'
        f'"previous_hash":"{GENESIS}","probabilities":[0.1,0.2,0.3,0.4],"reason":null,'
        '"request_id":null,"sequence":1,"software_version":"0.1.0","status":"OK"}'
    )


def test_the_form_of_regions_is_fixed_for_ever() -> None:
    entry = an_outlined_entry(id="p1", probabilities=(0.1, 0.2, 0.3, 0.4))
    text = canonical_form(entry, 1, GENESIS).decode()
    assert (
        '"reason":null,"regions":[{"area_mm2":0.3333333333333333,"area_px":900,"box":[1,2,31,42],'
        '"score":0.30000000000000004},{"area_mm2":null,"area_px":900,"box":[1,2,31,42],'
        '"score":0.25}],"request_id":null,"segmenter_version":"s1","sequence":1,'
    ) in text


def test_the_form_of_a_cached_answer_is_fixed_for_ever() -> None:
    entry = an_entry(id="p1")
    computed, cached = (
        canonical_form(e, 1, GENESIS).decode() for e in (entry, entry.evolve(cached=True))
    )
    assert cached == '{"cached":true,' + computed.removeprefix("{")


def test_no_regions_and_not_outlined_are_different() -> None:
    hashes = {row_hash(an_entry(id="p", regions=r), 1, GENESIS) for r in (None, (), (a_region(),))}
    assert len(hashes) == 3


def test_the_time_zone_does_not_count() -> None:
    entry = an_entry(id="p1")
    elsewhere = entry.create_time.astimezone(timezone(timedelta(hours=5, minutes=30)))
    moved = entry.evolve(create_time=elsewhere)
    assert canonical_form(moved, 1, GENESIS) == canonical_form(entry, 1, GENESIS)


def test_one_microsecond_counts() -> None:
    entry = an_entry(id="p1")
    later = entry.evolve(create_time=entry.create_time + timedelta(microseconds=1))
    assert row_hash(later, 1, GENESIS) != row_hash(entry, 1, GENESIS)


# --- verification -----------------------------------------------------------------------------


def test_an_empty_log_is_whole() -> None:
    report = verify_chain([], ChainHead())
    assert (report.intact, report.rows_checked, report.broken_at) == (True, 0, None)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_an_honest_log_is_whole(length: int) -> None:
    log = a_log(length)
    report = verify_chain(log, head_of(log))
    assert (report.intact, report.rows_checked, report.problem) == (True, length, None)


@pytest.mark.parametrize("field", sorted(set(CHANGES) - {"sequence"}))
@pytest.mark.parametrize("place", [1, 3, 5])
def test_an_altered_row_is_named(field: str, place: int) -> None:
    log = a_log(5)
    head = head_of(log)
    log[place - 1] = replace(log[place - 1], **{field: CHANGES[field]})
    report = verify_chain(log, head)
    assert (report.intact, report.broken_at, report.rows_checked) == (False, place, place - 1)
    assert report.broken_name == log[place - 1].name
    assert report.problem


@pytest.mark.parametrize("place", [1, 3])
def test_an_altered_row_with_a_new_hash_breaks_the_row_behind_it(place: int) -> None:
    log = a_log(5)
    head = head_of(log)
    log[place - 1] = rehashed(replace(log[place - 1], label=TumourLabel.NO_TUMOR))
    report = verify_chain(log, head)
    assert (report.intact, report.broken_at) == (False, place + 1)
    assert report.problem == f"row {place + 1} does not continue the row before it"


def test_an_altered_last_row_with_a_new_hash_does_not_fit_the_head() -> None:
    log = a_log(5)
    head = head_of(log)
    log[-1] = rehashed(replace(log[-1], label=TumourLabel.NO_TUMOR))
    report = verify_chain(log, head)
    assert (report.intact, report.problem) == (False, "row 5 was replaced")


@pytest.mark.parametrize("place", [1, 2, 4])
def test_a_removed_row_is_named(place: int) -> None:
    log = a_log(5)
    head = head_of(log)
    del log[place - 1]
    report = verify_chain(log, head)
    assert (report.intact, report.broken_at) == (False, place)
    assert report.problem is not None
    assert report.problem.startswith(f"row {place} was removed")


def test_renumbering_does_not_hide_a_removed_row() -> None:
    log = a_log(5)
    head = head_of(log)
    log = log[:2] + [replace(r, sequence=r.sequence - 1) for r in log[3:]]
    report = verify_chain(log, head)
    assert (report.intact, report.broken_at) == (False, 3)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_rows_cut_off_the_end_are_missed(cut: int) -> None:
    log = a_log(5)
    head = head_of(log)
    report = verify_chain(log[: 5 - cut], head)
    assert (report.intact, report.broken_at, report.rows_checked) == (False, 6 - cut, 5 - cut)
    assert report.problem == f"rows {6 - cut} to 5 were removed from the end"


def test_rows_added_at_the_end_without_the_head_are_seen() -> None:
    log = a_log(5)
    report = verify_chain(log, head_of(log[:3]))
    assert (report.intact, report.problem) == (False, "rows after 3 were inserted at the end")


def test_a_row_inserted_twice_is_named() -> None:
    log = a_log(5)
    report = verify_chain([*log[:3], log[1], *log[3:]], head_of(log))
    assert (report.intact, report.broken_at) == (False, 2)
    assert report.problem == "row 2 was inserted"


def test_a_forged_row_in_between_is_seen() -> None:
    log = a_log(5)
    forged = chained(an_entry(id="forged"), head_of(log[:2]))
    shifted = [replace(r, sequence=r.sequence + 1) for r in log[2:]]
    report = verify_chain([*log[:2], forged, *shifted], head_of(log))
    assert (report.intact, report.broken_at) == (False, 4)


def test_whoever_rewrites_every_row_and_the_head_can_forge_the_log() -> None:
    """What the chain does not prove; docs/architecture.md says so to its readers."""
    forged = a_log(5)[:2]
    forged.append(chained(an_entry(id="forged"), head_of(forged)))
    assert verify_chain(forged, head_of(forged)).intact


@given(length=st.integers(1, 8), data=st.data())
def test_any_single_change_is_found_at_its_place(length: int, data: st.DataObject) -> None:
    log = a_log(length)
    head = head_of(log)
    place = data.draw(st.integers(0, length - 1))
    field = data.draw(st.sampled_from(sorted(set(CHANGES) - {"sequence"})))
    log[place] = replace(log[place], **{field: CHANGES[field]})
    report = verify_chain(log, head)
    assert (report.intact, report.broken_at) == (False, place + 1)


@given(st.data())
def test_no_other_order_and_no_selection_is_whole(data: st.DataObject) -> None:
    log = a_log(6)
    indices = data.draw(st.lists(st.integers(0, 5), max_size=8))
    chosen = [log[i] for i in indices]
    report = verify_chain(chosen, head_of(log))
    assert report.intact == (chosen == log)
    if not report.intact:
        assert report.broken_at is not None
        assert 1 <= report.broken_at <= 6
        honest = [r for r, good in zip(chosen, log, strict=False) if r == good]
        assert report.broken_at <= len(honest) + 1
