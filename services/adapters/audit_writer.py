"""Group commit for the audit log."""

from collections.abc import Sequence
from typing import Final

from core.ports import UnitOfWorkFactory
from core.prediction import AuditEntry, AuditRecord
from services.rounds import Rounds

MAX_ROWS_PER_COMMIT: Final = 256
PATIENCE_SECONDS: Final = 0.025
"""How long an entry that is not wanted at once waits for others."""


class GroupCommitAuditWriter:
    """Writes audit entries on one thread; those that arrive during a commit share the next.

    So a batch that a worker answers is one transaction, and under load the number of commits
    per second stays what the disk can do. Refusals of an overloaded gateway come one by one: each
    with a transaction of its own would take the time of the answers that are still given.
    """

    def __init__(self, uow_factory: UnitOfWorkFactory) -> None:
        self._uow_factory = uow_factory
        self._commits: Rounds[AuditEntry, AuditRecord] = Rounds(
            self._commit, name="audit", most=MAX_ROWS_PER_COMMIT
        )

    async def record(self, entry: AuditEntry, *, at_once: bool = True) -> AuditRecord:
        """Returns once the entry is durable.

        One that is not wanted ``at_once`` waits for the next transaction, and asks for one of its
        own after ``PATIENCE_SECONDS``. The entry is written even if the caller stops waiting.
        Raises ``StoreUnavailable``.
        """
        return await self._commits.ask(entry, patience=0 if at_once else PATIENCE_SECONDS)

    async def close(self) -> None:
        """Write what still waits, and what comes meanwhile; then stop."""
        await self._commits.close()

    def _commit(self, entries: Sequence[AuditEntry]) -> tuple[AuditRecord, ...]:
        with self._uow_factory(write=True) as uow:
            records = uow.audit.append(entries)
            uow.commit()
        return records
