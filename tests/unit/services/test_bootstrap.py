"""What a gateway looks at before it stands up."""

from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import FailedPrecondition
from core.settings import Settings
from db.engine import create_store_engine
from services.bootstrap import connect


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE alembic_version SET version_num = '0006'", "is at revision 0006"),
        ("DELETE FROM alembic_version", "has no tables yet"),
    ],
)
async def test_no_gateway_stands_on_an_older_schema(
    sqlite_url: str, tmp_path: Path, statement: str, problem: str
) -> None:
    engine = create_store_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
    settings = Settings.from_environment({}, data_dir=tmp_path, database_url=sqlite_url)
    with pytest.raises(FailedPrecondition, match=rf"{problem}.*Run: python -m db\.migrate"):
        await connect(settings)
