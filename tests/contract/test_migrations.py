"""The migrations make what the code expects, on both databases."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

import db.migrations
from core.audit_chain import GENESIS, verify_chain
from core.errors import FailedPrecondition
from db.engine import create_store_engine
from db.mappers import to_us
from db.migrate import check_schema, current_revision, upgrade
from db.tables import Base
from db.unit_of_work import SqlUnitOfWorkFactory
from tests.fakes.records import a_review, an_entry, an_outlined_entry

HEAD = "0009"
OLD_HASH = "206e51337b2b52bec0032ae23c0c9a52dfc7c819f7d8569ef9b3f7f216b11931"
"""Of ``an_entry(id="p1")`` as the first row, by the software from before there were regions."""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without the schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'store.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def empty_engine(empty_url: str) -> Iterator[Engine]:
    engine = create_store_engine(empty_url)
    yield engine
    engine.dispose()


def test_an_empty_database_gets_the_schema(empty_url: str, empty_engine: Engine) -> None:
    assert current_revision(empty_url) is None
    upgrade(empty_url)
    assert current_revision(empty_url) == HEAD
    assert set(inspect(empty_engine).get_table_names()) == {
        "alembic_version",
        "alias_moves",
        "audit_head",
        "datasets",
        "job_events",
        "metrics",
        "model_aliases",
        "model_versions",
        "predictions",
        "reviews",
        "search_trials",
        "training_jobs",
    }


def test_tables_and_migrations_do_not_drift(sql_engine: Engine) -> None:
    with sql_engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_missing_index_would_be_noticed(sql_engine: Engine) -> None:
    with sql_engine.connect() as connection:
        connection.execute(text("DROP INDEX ix_predictions_label_time"))
        context = MigrationContext.configure(connection)
        (difference,) = compare_metadata(context, Base.metadata)
    assert difference[0] == "add_index"


def test_upgrading_again_keeps_what_is_there(sql_url: str, sql_engine: Engine) -> None:
    with sql_engine.begin() as connection:
        connection.execute(text("UPDATE audit_head SET sequence = 7"))
    upgrade(sql_url)
    with sql_engine.connect() as connection:
        assert connection.execute(text("SELECT sequence FROM audit_head")).scalars().all() == [7]


def test_data_sets_from_before_audits_keep_everything(empty_url: str, empty_engine: Engine) -> None:
    migrate(empty_engine, command.upgrade, "0001")
    with empty_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO datasets VALUES ('old', 1, 'r', 'ann', 'upload', 'd', 3, 30, '{}', 0,"
                " 0, false, 0, '[]')"
            )
        )
    upgrade(empty_url)
    with SqlUnitOfWorkFactory(empty_engine)() as uow:
        old = uow.datasets.get("old")
    assert (old.digest, old.request_id, old.item_count, old.audit) == ("d", "r", 3, None)
    migrate(empty_engine, command.downgrade, "0001")
    with empty_engine.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM datasets")).mappings().all()
    assert (row["id"], row["rejected"], "audit" in row) == ("old", "[]", False)
    assert inspect(empty_engine).get_unique_constraints("datasets")[0]["name"] == (
        "uq_datasets_caller_request_id"
    )


def test_jobs_from_before_searches_keep_everything(empty_url: str, empty_engine: Engine) -> None:
    migrate(empty_engine, command.upgrade, "0002")
    with empty_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO training_jobs (id, create_time, update_time, caller, dataset, spec,"
                " state, progress, stage, attempt)"
                " VALUES ('old', 1, 2, 'ann', 'brains', '{}', 'QUEUED', 0.0, '', 0)"
            )
        )
        connection.execute(
            text("INSERT INTO job_events VALUES ('old', 1, 1, 'QUEUED', 'waiting', NULL)")
        )
    upgrade(empty_url)
    with SqlUnitOfWorkFactory(empty_engine)() as uow:
        old = uow.jobs.get("old")
        assert (old.search, old.result_job, uow.jobs.trials("old")) == (None, None, ())
        assert [event.message for event in uow.jobs.events("old")] == ["waiting"]
        assert old.futile_attempts == 0
    migrate(empty_engine, command.downgrade, "0002")
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT message FROM job_events")).scalars().all() == [
            "waiting"
        ]
        (row,) = connection.execute(text("SELECT * FROM training_jobs")).mappings().all()
    assert row["id"] == "old"
    assert not {"search", "result_job", "futile_attempts"} & row.keys()


def test_a_log_from_before_regions_still_verifies(empty_url: str, empty_engine: Engine) -> None:
    migrate(empty_engine, command.upgrade, "0004")
    entry = an_entry(id="p1")
    written = {
        name: None if value is None else str(value)
        for name, value in vars(entry).items()
        if name not in {"create_time", "probabilities", "segmenter_version", "regions", "cached"}
    } | {
        "sequence": 1,
        "image_bytes": entry.image_bytes,
        "latency_us": entry.latency_us,
        "create_time": to_us(entry.create_time),
        "probabilities": json.dumps(entry.probabilities),
        "previous_hash": GENESIS,
        "row_hash": OLD_HASH,
    }
    names = ", ".join(written)
    values = ", ".join(f":{name}" for name in written)
    with empty_engine.begin() as connection:
        connection.execute(text(f"INSERT INTO predictions ({names}) VALUES ({values})"), written)
        connection.execute(
            text("UPDATE audit_head SET sequence = 1, row_hash = :hash"), {"hash": OLD_HASH}
        )
    upgrade(empty_url)
    with SqlUnitOfWorkFactory(empty_engine)(write=True) as uow:
        uow.audit.append([an_outlined_entry(id="p2", cached=True)])
        uow.audit.add_review(a_review("p1"))
        uow.commit()
    with SqlUnitOfWorkFactory(empty_engine)() as uow:
        report = verify_chain(uow.audit.iterate(), uow.audit.head())
        old = uow.audit.get("p1")
    assert (report.intact, report.rows_checked) == (True, 2)
    assert (old.regions, old.segmenter_version, old.label) == (None, None, entry.label)
    assert not old.cached
    migrate(empty_engine, command.downgrade, "0004")
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM reviews")).scalar() == 1
        row = connection.execute(text("SELECT * FROM predictions")).mappings().first()
    assert row is not None
    assert (row["row_hash"], "regions" in row) == (OLD_HASH, False)


def test_a_request_is_answered_once_whatever_the_code_does(sql_engine: Engine) -> None:
    with SqlUnitOfWorkFactory(sql_engine)(write=True) as uow:
        uow.audit.append([an_entry(id="p1", request_id="r1")])
        uow.commit()
    again = {"id": "p2", "sequence": 2}
    kept = [c.name for c in Base.metadata.tables["predictions"].c if c.name not in again]
    copied = f"INSERT INTO predictions (id, sequence, {', '.join(kept)}) SELECT :id, :sequence"
    with sql_engine.begin() as connection, pytest.raises(IntegrityError, match="request_id"):
        connection.execute(text(f"{copied}, {', '.join(kept)} FROM predictions"), again)


def test_several_processes_may_upgrade_at_once(empty_url: str, empty_engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [empty_url] * 4))
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_head")).scalar() == 1
    assert current_revision(empty_url) == HEAD


def test_a_newer_database_is_refused_by_name(sql_url: str, sql_engine: Engine) -> None:
    with sql_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FailedPrecondition, match="at revision 9999"):
        upgrade(sql_url)


def test_a_schema_that_is_older_than_the_software_is_noticed(
    empty_url: str, empty_engine: Engine
) -> None:
    with pytest.raises(FailedPrecondition, match="no tables yet"):
        check_schema(empty_url)
    migrate(empty_engine, command.upgrade, "0006")
    with pytest.raises(FailedPrecondition, match=r"at revision 0006, .* needs 0009"):
        check_schema(empty_url)
    upgrade(empty_url)
    check_schema(empty_url)


def test_a_schema_of_newer_software_is_good_enough(sql_url: str, sql_engine: Engine) -> None:
    with sql_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    check_schema(sql_url)


def test_going_back_removes_everything(sql_engine: Engine) -> None:
    migrate(sql_engine, command.downgrade, "base")
    assert inspect(sql_engine).get_table_names() == ["alembic_version"]


def migrate(engine: Engine, direction: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        direction(config, revision)


def test_every_constraint_has_a_name(sql_engine: Engine) -> None:
    inspector = inspect(sql_engine)
    for table in Base.metadata.tables:
        assert inspector.get_pk_constraint(table)["name"] == f"pk_{table}"
        found = [*inspector.get_foreign_keys(table), *inspector.get_unique_constraints(table)]
        for constraint in found:
            assert str(constraint["name"]).startswith((f"fk_{table}_", f"uq_{table}_"))
