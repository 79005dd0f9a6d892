"""Pictures and item lists in the artefact store, by content."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final

from core.datasets import DatasetItem, Split, audit_page_key, dataset_digest
from core.errors import ArtefactCorrupt, NotFound
from core.labels import TumourLabel
from core.ports import ArtefactStore

BLOBS: Final = "blobs"
LISTS: Final = "datasets"
"""Folders of the artefact store: pictures and masks, and what is known of each data set."""


def blob_key(digest: str) -> str:
    """Where the bytes with this hex SHA-256 are."""
    return f"{BLOBS}/{digest[:2]}/{digest}"


def write_blob(store: ArtefactStore, data: bytes) -> str:
    """Store the bytes, once however often they come; their hex SHA-256."""
    digest = sha256(data).hexdigest()
    if not store.exists(blob_key(digest)):
        store.put(blob_key(digest), data)
    return digest


def read_blob(store: ArtefactStore, digest: str) -> bytes:
    """The bytes. Raises ``ArtefactCorrupt`` if they are missing or were changed."""
    try:
        data = store.get(blob_key(digest))
    except NotFound as exc:
        raise ArtefactCorrupt(blob_key(digest), "the file is missing") from exc
    if sha256(data).hexdigest() != digest:
        raise ArtefactCorrupt(blob_key(digest))
    return data


def write_items(store: ArtefactStore, items: Sequence[DatasetItem]) -> str:
    """Store a data set's list of items; its digest. An equal list is stored over the old one.

    Looks have a file of their own: workers of before, which have no use for them, read the list.
    """
    digest = dataset_digest(items)
    lines = [json.dumps(_values(item), sort_keys=True) for item in items]
    if looks := {item.sha256: item.look for item in items if item.look}:
        store.put(_looks_key(digest), json.dumps(looks, sort_keys=True).encode())
    store.put(_items_key(digest), "\n".join(lines).encode())
    return digest


def read_items(store: ArtefactStore, digest: str) -> tuple[DatasetItem, ...]:
    """A data set's items. Raises ``ArtefactCorrupt`` if they are missing or were changed."""
    try:
        text, looks = store.get(_items_key(digest)), _read_looks(store, digest)
        items = tuple(_item(line, looks) for line in text.decode().split("\n"))
    except NotFound as exc:
        raise ArtefactCorrupt(_items_key(digest), "the file is missing") from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise ArtefactCorrupt(_items_key(digest)) from exc
    if dataset_digest(items) != digest:
        raise ArtefactCorrupt(_items_key(digest))
    return items


def write_audit_page(store: ArtefactStore, digest: str, page: bytes) -> str:
    """Store the page of a data set's audit; its hex SHA-256."""
    page_sha256 = sha256(page).hexdigest()
    store.put(audit_page_key(digest, page_sha256), page)
    return page_sha256


def list_folder(digest: str) -> str:
    """Where a data set's list of items is, with its looks and its audit."""
    return f"{LISTS}/{digest}"


def _items_key(digest: str) -> str:
    return f"{list_folder(digest)}/items.jsonl"


def _looks_key(digest: str) -> str:
    return f"{list_folder(digest)}/looks.json"


def _read_looks(store: ArtefactStore, digest: str) -> Mapping[str, str]:
    """By picture; nothing for a data set from before looks were kept."""
    key = _looks_key(digest)
    looks: Mapping[str, str] = json.loads(store.get(key)) if store.exists(key) else {}
    return looks


def _values(item: DatasetItem) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "look"}


def _item(line: str, looks: Mapping[str, str]) -> DatasetItem:
    values = json.loads(line)
    values["look"] = looks.get(values["sha256"], "")
    values["label"] = TumourLabel(values["label"])
    values["split"] = Split(values["split"]) if values["split"] else None
    return DatasetItem(**values)
