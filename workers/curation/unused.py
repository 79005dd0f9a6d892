"""Removes pictures that no data set has: ``python -m workers.curation.unused``.

A data set that is deleted leaves its pictures, since others may hold the same ones, and one that
is refused leaves what was stored before the fault was seen. Run it while no data set is being
taken in: one that is may count on pictures that it found there.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from core.datasets import Dataset, DatasetItem
from core.errors import BrainTumorError, FailedPrecondition
from core.paging import MAX_PAGE_SIZE, PageRequest
from core.ports import ArtefactStore, UnitOfWorkFactory
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import check_schema
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.curation.blobs import BLOBS, LISTS, blob_key, list_folder, read_items

_DEPTH: Final = 2
"""Parts of a key that name a data set's list, its looks and its audit together."""


def unused_keys(store: ArtefactStore, uow_factory: UnitOfWorkFactory) -> tuple[str, ...]:
    """Keys of pictures, masks, item lists and audits that no data set needs.

    Raises ``ArtefactCorrupt`` if a data set's list cannot be read: what it names is not known
    then, and nothing may go. ``StoreUnavailable``.
    """
    # Listed before data sets are read: what is stored in between is in neither.
    stored = (*store.list(BLOBS), *store.list(LISTS))
    needed: set[str] = set()
    for dataset in _datasets(uow_factory):
        needed.add(list_folder(dataset.digest))
        for item in read_items(store, dataset.digest):
            needed.update(_pictures(item))
    return tuple(key for key in stored if not {key, _folder(key)} & needed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Remove what is unused, or only count it; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.curation.unused", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--dry-run", action="store_true", help="count them, and remove nothing")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        _check_database(settings.database_url)
        store = FsspecArtefactStore(settings.artefact_url)
        keys = unused_keys(store, SqlUnitOfWorkFactory(create_store_engine(settings.database_url)))
        for key in () if options.dry_run else keys:
            store.delete(key)
    except BrainTumorError as error:
        sys.stderr.write(f"Not all that is unused was removed. {error}\n")
        return 1
    told = _told(len(keys), only_counted=options.dry_run)
    sys.stdout.write(f"{told} The store is {settings.artefact_url}.\n")
    return 0


def _check_database(url: str) -> None:
    """Raises ``FailedPrecondition`` where there is none: to look for it would make an empty one."""
    path = make_url(url).database if url.startswith("sqlite") else None
    if path and not Path(path).exists():
        raise FailedPrecondition(
            f"There is no database at {path}. Set BRAINTUMOR_DATA_DIR or DATABASE_URL as the "
            "system has it."
        )
    check_schema(url)


def _told(count: int, *, only_counted: bool) -> str:
    noun, verb = ("file", "was") if count == 1 else ("files", "were")
    return f"{count} {noun} that no data set needs {'would be' if only_counted else verb} removed."


def _datasets(uow_factory: UnitOfWorkFactory) -> Iterator[Dataset]:
    request: PageRequest | None = PageRequest(size=MAX_PAGE_SIZE)
    with uow_factory() as uow:
        while request is not None:
            page = uow.datasets.list(request)
            yield from page.items
            request = PageRequest(size=MAX_PAGE_SIZE, after=page.next) if page.next else None


def _pictures(item: DatasetItem) -> Iterator[str]:
    yield blob_key(item.sha256)
    if item.mask_sha256 is not None:
        yield blob_key(item.mask_sha256)


def _folder(key: str) -> str:
    return "/".join(key.split("/")[:_DEPTH])


if __name__ == "__main__":
    sys.exit(main())
