"""Group commit for the audit log."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from core.ports import UnitOfWorkFactory
from core.prediction import AuditEntry, AuditRecord

MAX_ROWS_PER_COMMIT: Final = 256
PATIENCE_SECONDS: Final = 0.025
"""How long an entry that is not wanted at once waits for others."""

_Waiting = tuple[AuditEntry, "asyncio.Future[AuditRecord]"]


class GroupCommitAuditWriter:
    """Writes audit entries on one thread; those that arrive during a commit share the next.

    So a batch that a worker answers is one transaction, and under load the number of commits
    per second stays what the disk can do. Refusals of an overloaded gateway come one by one: each
    with a transaction of its own would take the time of the answers that are still given.
    """

    def __init__(self, uow_factory: UnitOfWorkFactory) -> None:
        self._uow_factory = uow_factory
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._flushing = False
        self._alarm: asyncio.TimerHandle | None = None

    async def record(self, entry: AuditEntry, *, at_once: bool = True) -> AuditRecord:
        """Returns once the entry is durable.

        One that is not wanted ``at_once`` waits for the next transaction, and asks for one of its
        own after ``PATIENCE_SECONDS``. The entry is written even if the caller stops waiting.
        Raises ``StoreUnavailable``.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AuditRecord] = loop.create_future()
        self._waiting.append((entry, future))
        if at_once:
            self._flush()
        elif self._alarm is None:
            self._alarm = loop.call_later(PATIENCE_SECONDS, self._flush)
        return await future

    def _flush(self) -> None:
        """Have everything that waits written now."""
        self._silence()
        if not self._waiting:
            return
        self._flushing = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def close(self) -> None:
        """Write what still waits, and what comes meanwhile; then stop."""
        self._flush()
        while self._writer is not None and not self._writer.done():
            await self._writer
            self._flush()
        self._thread.shutdown()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._flushing:
            count = min(len(self._waiting), MAX_ROWS_PER_COMMIT)
            group = [self._waiting.popleft() for _ in range(count)]
            self._flushing = bool(self._waiting)  # who has not found room waits no second time
            if not self._waiting:
                self._silence()
            try:
                entries = [entry for entry, _ in group]
                records = await loop.run_in_executor(self._thread, self._commit, entries)
            except Exception as error:
                _settle(group, [error] * count)
            else:
                _settle(group, records)

    def _commit(self, entries: Sequence[AuditEntry]) -> tuple[AuditRecord, ...]:
        with self._uow_factory(write=True) as uow:
            records = uow.audit.append(entries)
            uow.commit()
        return records


def _settle(group: Sequence[_Waiting], results: Sequence[AuditRecord | Exception]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():  # its caller went away
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
