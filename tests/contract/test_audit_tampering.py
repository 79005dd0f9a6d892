"""Whatever is done to the rows behind the log's back, verification names the first bad one."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from core.audit_chain import ChainReport, verify_chain
from core.errors import ArtefactCorrupt
from core.paging import PageRequest
from db.unit_of_work import SqlUnitOfWorkFactory
from services.converters import prediction_message, review_message
from services.filtering import parse_filter
from services.usecases.audit import AuditUseCases
from tests.fakes.records import a_refusal, a_review, an_entry, an_outlined_entry
from tests.fakes.store import FakeClock

ROWS = 6


@pytest.fixture
def log(sql_engine: Engine) -> Iterator[SqlUnitOfWorkFactory]:
    """A log of answers: the third with regions and from the cache, the last but one a refusal."""
    factory = SqlUnitOfWorkFactory(sql_engine)
    with factory(write=True) as uow:
        entries = [an_entry(id=f"p{n}") for n in range(1, ROWS + 1)]
        entries[2] = an_outlined_entry(id="p3", cached=True)
        entries[4] = a_refusal(id="p5")
        uow.audit.append(entries)
        uow.commit()
    yield factory


def tamper(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount


def verify(log: SqlUnitOfWorkFactory) -> ChainReport:
    with log() as uow:
        return verify_chain(uow.audit.iterate(), uow.audit.head())


def test_an_honest_log_is_intact(log: SqlUnitOfWorkFactory) -> None:
    assert verify(log) == ChainReport(intact=True, rows_checked=ROWS)


@pytest.mark.parametrize(
    "change",
    [
        "label = 'glioma'",
        "label = NULL",
        "label = 'healthy'",  # not a label at all
        "decision = 'ABSTAINED'",
        "decision = 'SURE'",
        "outcome = 'REFUSED'",
        "outcome = ''",
        "probabilities = '[0.3, 0.3, 0.2, 0.2]'",
        "probabilities = '[0.3, 0.3'",
        "probabilities = '7'",
        "probabilities = NULL",
        "create_time = create_time + 1",
        "create_time = 9000000000000000000",
        "caller = 'eve'",
        "request_id = 'r1'",
        "image_sha256 = 'b'",
        "image_bytes = 1",
        "model_version = 'm2'",
        "status = 'INTERNAL'",
        "reason = 'NONE'",
        "message = 'x'",
        "latency_us = 1",
        "software_version = '9'",
        "segmenter_version = 's2'",
        "segmenter_version = NULL",
        "regions = NULL",
        "regions = '[]'",
        "regions = replace(regions, '900', '901')",
        "regions = replace(regions, '[1,', '[0,')",
        "regions = replace(regions, ',', ', ')",  # a form that no software of ours writes
        "regions = 'none'",
        "cached = 0",
        "cached = 2",
        "id = 'other'",
        "row_hash = 'f'",
        "previous_hash = 'f'",
    ],
)
def test_an_altered_row_is_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, change: str
) -> None:
    tamper(sql_engine, f"UPDATE predictions SET {change} WHERE sequence = 3")
    report = verify(log)
    assert not report.intact
    assert (report.broken_at, report.rows_checked) == (3, 2)
    assert report.broken_name == ("predictions/other" if "other" in change else "predictions/p3")
    with log() as uow:  # and people can still look at the log
        assert len(uow.audit.list(PageRequest()).items) == ROWS


@pytest.mark.parametrize("change", ["label = 'glioma'", "label = 'healthy'", "decision = 'SURE'"])
def test_an_answer_that_was_put_on_a_refusal_is_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, change: str
) -> None:
    tamper(sql_engine, f"UPDATE predictions SET {change} WHERE sequence = 5")
    report = verify(log)
    assert (report.broken_at, report.broken_name) == (5, "predictions/p5")


def test_the_first_of_several_is_named(log: SqlUnitOfWorkFactory, sql_engine: Engine) -> None:
    tamper(
        sql_engine,
        "UPDATE predictions SET caller = 'eve' WHERE sequence = 5",
        "UPDATE predictions SET caller = 'eve' WHERE sequence = 2",
    )
    assert verify(log).broken_at == 2


@pytest.mark.parametrize("change", ["regions = '[]'", "segmenter_version = 's1'", "cached = 1"])
def test_what_was_put_on_an_answer_without_it_is_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, change: str
) -> None:
    tamper(sql_engine, f"UPDATE predictions SET {change} WHERE sequence = 4")
    assert verify(log).broken_at == 4


@pytest.mark.parametrize(
    "column", ["id", "caller", "label", "regions", "image_bytes", "cached", "row_hash"]
)
def test_bytes_in_a_column_of_sqlite_are_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, column: str
) -> None:
    if sql_engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL lets no bytes into these columns")
    tamper(sql_engine, f"UPDATE predictions SET {column} = x'00ff' WHERE sequence = 3")
    assert verify(log).broken_at == 3


@pytest.mark.parametrize(
    "column", ["id", "caller", "label", "message", "regions", "software_version", "row_hash"]
)
def test_text_of_sqlite_that_is_no_utf8_is_named_and_shown(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, column: str
) -> None:
    if sql_engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL lets no such text in")
    tamper(
        sql_engine, f"UPDATE predictions SET {column} = CAST(x'ff41' AS TEXT) WHERE sequence = 3"
    )
    assert verify(log).broken_at == 3
    audit = AuditUseCases(uow_factory=log, clock=FakeClock())
    exported = [record for page in audit.export(None) for record, _ in page]
    listed = audit.list(PageRequest(), None, newest_first=False).items
    assert [record.sequence for record in listed] == list(range(1, ROWS + 1))
    assert len([prediction_message(record) for record in exported]) == ROWS
    others = audit.list(PageRequest(), parse_filter("NOT label = glioma"), newest_first=True)
    assert others.items


def test_bytes_that_read_like_what_was_there_are_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine
) -> None:
    if sql_engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL lets no such text in")
    with log(write=True) as uow:
        uow.audit.append([an_entry(message="\N{REPLACEMENT CHARACTER}")])
        uow.commit()
    assert verify(log).intact
    tamper(sql_engine, "UPDATE predictions SET message = CAST(x'ff' AS TEXT) WHERE sequence = 7")
    assert verify(log).broken_at == 7


@pytest.mark.parametrize(
    "change",
    [
        "probabilities = '[0.5, 0.5]'",
        """probabilities = '["a", 0.1, 0.1, 0.1]'""",
        "probabilities = '[true, 0.1, 0.1, 0.1]'",
        "probabilities = '[1e999, 0.1, 0.1, 0.1]'",
        "probabilities = '0.5'",
        "regions = '[7]'",
        "regions = replace(regions, '[1,', '[-1,')",
        "regions = replace(regions, '[1,', '[3000000000,')",
        "image_bytes = -1",
        f"latency_us = {2**62}",
    ],
)
def test_a_row_that_makes_no_sense_can_still_be_shown(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, change: str
) -> None:
    tamper(sql_engine, f"UPDATE predictions SET {change} WHERE sequence = 3")
    assert verify(log).broken_at == 3
    with log() as uow:
        shown = uow.audit.list(PageRequest()).items
    assert len([prediction_message(record) for record in shown]) == ROWS


def test_text_in_a_number_column_of_sqlite_can_still_be_shown(
    log: SqlUnitOfWorkFactory, sql_engine: Engine
) -> None:
    if sql_engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL lets no text into these columns")
    tamper(sql_engine, "UPDATE predictions SET image_bytes = 'many' WHERE sequence = 3")
    assert verify(log).broken_at == 3
    with log() as uow:
        shown = uow.audit.list(PageRequest()).items
    assert len([prediction_message(record) for record in shown]) == ROWS


@pytest.mark.parametrize(
    "change",
    ["label = 'healthy'", "create_time = 9000000000000000000", "comment = CAST(x'ff' AS TEXT)"],
)
def test_a_review_that_makes_no_sense_can_still_be_shown(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, change: str
) -> None:
    if "CAST" in change and sql_engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL lets no such text in")
    with log(write=True) as uow:
        uow.audit.add_review(a_review("p3"))
        uow.commit()
    tamper(sql_engine, f"UPDATE reviews SET {change}")
    audit = AuditUseCases(uow_factory=log, clock=FakeClock())
    (review,) = (review for page in audit.export(None) for _, found in page for review in found)
    assert "cannot be read" in review.comment
    assert prediction_message(*audit.get("p3")).reviews[0] == review_message(review)


@pytest.mark.parametrize("sequence", [1, 4])
def test_a_removed_row_is_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine, sequence: int
) -> None:
    tamper(sql_engine, f"DELETE FROM predictions WHERE sequence = {sequence}")
    report = verify(log)
    assert not report.intact
    assert report.broken_at == sequence
    assert report.problem == (
        f"row {sequence} was removed: row {sequence + 1} follows row {sequence - 1}"
    )


def test_a_removed_tail_is_named(log: SqlUnitOfWorkFactory, sql_engine: Engine) -> None:
    tamper(sql_engine, "DELETE FROM predictions WHERE sequence > 4")
    report = verify(log)
    assert (report.broken_at, report.rows_checked) == (5, 4)
    assert report.problem == "rows 5 to 6 were removed from the end"


def test_a_row_put_at_the_end_is_named(log: SqlUnitOfWorkFactory, sql_engine: Engine) -> None:
    tamper(sql_engine, _copy_of_row_6(sequence=7))
    assert verify(log).broken_at == 7


def test_a_row_put_before_the_first_is_named(log: SqlUnitOfWorkFactory, sql_engine: Engine) -> None:
    tamper(sql_engine, _copy_of_row_6(sequence=0))
    report = verify(log)
    assert (report.broken_at, report.problem) == (0, "row 0 was inserted")


def test_a_row_put_in_the_place_of_a_removed_one_is_named(
    log: SqlUnitOfWorkFactory, sql_engine: Engine
) -> None:
    tamper(sql_engine, "DELETE FROM predictions WHERE sequence = 3", _copy_of_row_6(sequence=3))
    report = verify(log)
    assert (report.broken_at, report.broken_name) == (3, "predictions/forged")


def test_a_moved_head_shows(log: SqlUnitOfWorkFactory, sql_engine: Engine) -> None:
    tamper(sql_engine, "UPDATE audit_head SET row_hash = 'f'")
    assert verify(log).problem == "row 6 was replaced"


def test_a_log_without_its_head_takes_no_more_rows(
    log: SqlUnitOfWorkFactory, sql_engine: Engine
) -> None:
    tamper(sql_engine, "DELETE FROM audit_head")
    assert not verify(log).intact
    with log(write=True) as uow, pytest.raises(ArtefactCorrupt, match="its row is missing"):
        uow.audit.append([an_entry()])


def _copy_of_row_6(sequence: int) -> str:
    copied = (
        "create_time, request_id, caller, image_sha256, image_bytes, model_version, "
        "probabilities, label, decision, outcome, status, reason, message, latency_us, "
        "software_version, previous_hash, row_hash"
    )
    return (
        f"INSERT INTO predictions (sequence, id, {copied}) "
        f"SELECT {sequence}, 'forged', {copied} FROM predictions WHERE sequence = 6"
    )
