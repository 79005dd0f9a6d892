"""The one-shot migration command."""

from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import FailedPrecondition
from db import migrate
from db.engine import create_store_engine


def test_it_upgrades_the_configured_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setenv("BRAINTUMOR_DATABASE_URL", url)
    assert migrate.main() == 0
    assert (
        capsys.readouterr().out == f"The database is at revision {migrate.current_revision(url)}.\n"
    )


def test_it_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("BRAINTUMOR_DATABASE_URL", f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    assert migrate.main() == 1
    assert "The database was not migrated. The database cannot be used" in capsys.readouterr().err


def test_a_folder_with_a_percent_sign_is_no_trouble(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / '100%' / 'store.db'}"
    migrate.upgrade(url)
    assert migrate.current_revision(url)


def test_rows_that_point_nowhere_stop_it(sqlite_url: str) -> None:
    engine = create_store_engine(sqlite_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    with engine.connect() as connection:
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        connection.execute(text("INSERT INTO metrics VALUES ('nobody', 'accuracy', 1)"))
        connection.commit()
    engine.dispose()
    with pytest.raises(FailedPrecondition, match="Rows of metrics"):
        migrate.upgrade(sqlite_url)
