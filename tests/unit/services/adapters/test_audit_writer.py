import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from core.errors import StoreUnavailable
from core.prediction import AuditEntry, AuditRecord
from services.adapters import audit_writer
from services.adapters.audit_writer import GroupCommitAuditWriter
from tests.fakes.records import an_entry
from tests.fakes.store import FakeUnitOfWork, FakeUnitOfWorkFactory


class SlowStore(FakeUnitOfWorkFactory):
    """Opens a unit of work only while ``gate`` is set; counts them, and notes their threads."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.threads: set[str] = set()

    def __call__(self, *, write: bool = False) -> FakeUnitOfWork:
        self.begun += 1
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        return super().__call__(write=write)

    @property
    def written(self) -> list[str]:
        return [record.id for record in self.state.records]


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def writer(store: SlowStore) -> AsyncIterator[GroupCommitAuditWriter]:
    writer = GroupCommitAuditWriter(store)
    yield writer
    store.gate.set()
    await writer.close()


async def start(
    writer: GroupCommitAuditWriter, store: SlowStore, entry: AuditEntry
) -> asyncio.Task[AuditRecord]:
    """Let the entry's commit begin, and not end."""
    store.gate.clear()
    task = asyncio.create_task(writer.record(entry))
    begun = store.begun
    async with asyncio.timeout(10):
        while store.begun == begun:
            await asyncio.sleep(0)
    return task


async def queue(writer: GroupCommitAuditWriter, count: int) -> list[asyncio.Task[AuditRecord]]:
    tasks = [asyncio.create_task(writer.record(an_entry())) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_an_entry_gets_its_place_in_the_log(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    entry = an_entry()
    record = await writer.record(entry)
    assert (record.id, record.sequence) == (entry.id, 1)
    assert store.state.records == [record]


async def test_nobody_is_answered_before_the_entry_is_durable(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    task = await start(writer, store, an_entry())
    await asyncio.sleep(0.01)
    assert not task.done()
    assert store.written == []
    store.gate.set()
    record = await task
    assert store.state.records == [record]


async def test_entries_that_arrive_during_a_commit_share_the_next(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    first = await start(writer, store, an_entry())
    others = await queue(writer, 20)
    store.gate.set()
    records = await asyncio.gather(first, *others)
    assert store.begun == 2
    assert [record.sequence for record in records] == list(range(1, 22))
    assert store.state.records == records


async def test_one_thread_writes(writer: GroupCommitAuditWriter, store: SlowStore) -> None:
    for _ in range(5):
        await asyncio.gather(*await queue(writer, 3))
    assert len(store.threads) == 1
    assert threading.current_thread().name not in store.threads


async def test_a_commit_has_a_largest_size(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "MAX_ROWS_PER_COMMIT", 4)
    writer = GroupCommitAuditWriter(store)
    first = await start(writer, store, an_entry())
    others = await queue(writer, 10)
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.begun == 1 + 3


async def test_an_entry_is_written_though_its_caller_went_away(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    task = await start(writer, store, an_entry(id="started"))
    waiting = asyncio.create_task(writer.record(an_entry(id="waiting")))
    staying = asyncio.create_task(writer.record(an_entry(id="staying")))
    await asyncio.sleep(0)
    task.cancel()
    waiting.cancel()
    store.gate.set()
    assert (await staying).sequence == 3
    assert store.written == ["started", "waiting", "staying"]
    assert task.cancelled()
    assert waiting.cancelled()


async def test_everybody_in_a_commit_is_told_that_it_failed(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    first = await start(writer, store, an_entry())
    others = await queue(writer, 3)
    store.error = StoreUnavailable()
    store.gate.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 4
    assert store.written == []


async def test_it_writes_again_once_the_store_is_back(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await writer.record(an_entry())
    store.error = None
    assert (await writer.record(an_entry())).sequence == 1


async def test_an_answer_that_was_given_before_is_given_again(
    writer: GroupCommitAuditWriter, store: SlowStore
) -> None:
    request_id = "0f8fad5b-d9cb-469f-a165-70867728950e"
    first = await writer.record(an_entry(request_id=request_id))
    assert await writer.record(an_entry(request_id=request_id)) == first
    assert store.written == [first.id]


async def test_what_is_not_wanted_at_once_waits_for_others(
    writer: GroupCommitAuditWriter, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 60)
    patient = [asyncio.create_task(writer.record(an_entry(), at_once=False)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert store.begun == 0
    records = await asyncio.gather(*patient, writer.record(an_entry()))
    assert store.begun == 1
    assert [record.sequence for record in records] == [1, 2, 3, 4]


async def test_what_is_not_wanted_at_once_waits_no_longer_than_a_moment(
    writer: GroupCommitAuditWriter, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 0.001)
    async with asyncio.timeout(10):
        for sequence in (1, 2):
            assert (await writer.record(an_entry(), at_once=False)).sequence == sequence
    assert store.begun == 2


async def test_what_comes_during_a_commit_and_is_not_wanted_at_once_still_waits(
    writer: GroupCommitAuditWriter, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 60)
    first = await start(writer, store, an_entry())
    patient = asyncio.create_task(writer.record(an_entry(), at_once=False))
    await asyncio.sleep(0)
    store.gate.set()
    await first
    await asyncio.sleep(0.01)
    assert store.begun == 1
    assert (await writer.record(an_entry())).sequence == 3
    assert (await patient).sequence == 2
    assert store.begun == 2


async def test_closing_writes_what_was_not_wanted_at_once(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 60)
    writer = GroupCommitAuditWriter(store)
    patient = asyncio.create_task(writer.record(an_entry(), at_once=False))
    await asyncio.sleep(0)
    await writer.close()
    assert (await patient).sequence == 1


async def test_closing_writes_what_comes_meanwhile(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 60)
    writer = GroupCommitAuditWriter(store)
    first = await start(writer, store, an_entry())
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    late = asyncio.create_task(writer.record(an_entry(), at_once=False))
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(first, closing)
    assert (await late).sequence == 2


async def test_an_alarm_whose_entry_is_written_rings_for_nobody(
    writer: GroupCommitAuditWriter, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 0.02)
    await asyncio.gather(writer.record(an_entry()), writer.record(an_entry(), at_once=False))
    assert store.begun == 1
    monkeypatch.setattr(audit_writer, "PATIENCE_SECONDS", 60)
    patient = asyncio.create_task(writer.record(an_entry(), at_once=False))
    await asyncio.sleep(0.05)
    assert store.begun == 1
    await writer.close()
    assert (await patient).sequence == 3


async def test_closing_writes_what_still_waits(store: SlowStore) -> None:
    writer = GroupCommitAuditWriter(store)
    tasks = [await start(writer, store, an_entry()), *await queue(writer, 5)]
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    store.gate.set()
    await closing
    assert len(store.written) == 6
    await asyncio.gather(*tasks)


async def test_closing_what_never_wrote_is_no_error(store: SlowStore) -> None:
    await GroupCommitAuditWriter(store).close()
    assert store.begun == 0
