"""Inserts that find a row there already, and leave the transaction usable."""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def insert_into(session: Session, table: Any) -> Any:
    """An insert that knows ON CONFLICT, which SQLAlchemy leaves to each dialect."""
    dialects = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return dialects[session.get_bind().dialect.name](table)
