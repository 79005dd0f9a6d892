"""One transaction over every repository."""

from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.ports import AuditLog, DatasetRepository, ModelRepository, TrainingJobRepository
from db.audit_log import SqlAuditLog
from db.engine import open_connection, store_errors
from db.repositories import SqlDatasets, SqlModels, SqlTrainingJobs


class SqlUnitOfWork:
    """:class:`core.ports.UnitOfWork` in SQL. Leaving without :meth:`commit` rolls back.

    One that was not opened for writing sees a single snapshot of the database and refuses to
    commit. Driver errors inside the block come out as the taxonomy's (:func:`store_errors`).
    """

    datasets: DatasetRepository
    jobs: TrainingJobRepository
    models: ModelRepository
    audit: AuditLog

    def __init__(self, engine: Engine, *, write: bool) -> None:
        self._engine = engine
        self._write = write

    def __enter__(self) -> Self:
        with store_errors():
            self._connection = open_connection(self._engine, write=self._write)
        self._session = Session(self._connection, expire_on_commit=False)
        self.datasets = SqlDatasets(self._session)
        self.jobs = SqlTrainingJobs(self._session)
        self.models = SqlModels(self._session)
        self.audit = self._audit_log = SqlAuditLog(self._session)
        return self

    def commit(self) -> None:
        """Make everything done so far durable. Raises ``StoreUnavailable``."""
        if not self._write:
            # It would mostly work, and fail on SQLite whenever somebody else wrote meanwhile.
            raise RuntimeError("a unit of work that commits must be opened with write=True")
        with store_errors():
            self._session.commit()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        if isinstance(error, SQLAlchemyError):
            with store_errors():
                raise error

    def _close(self) -> None:
        """Roll back what was not committed; a connection too broken for that is thrown away."""
        try:
            with suppress(SQLAlchemyError):
                self._audit_log.close()
                self._session.close()
        finally:
            self._connection.close()


class SqlUnitOfWorkFactory:
    """Opens units of work on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, *, write: bool = False) -> SqlUnitOfWork:
        return SqlUnitOfWork(self._engine, write=write)

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()
