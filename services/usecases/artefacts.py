"""Reading stored files as the gateway needs them: each checked against its hash.

A model version's ``manifest.json`` names every other file with its SHA-256, and the version's
digest is the SHA-256 of the manifest; so the registry vouches for every byte. The hash of a data
set's audit page is in its record.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from core.errors import ArtefactCorrupt, NotFound
from core.ports import ArtefactStore
from core.registry import artefact_prefix

REPORT: Final = "report.html"
MODEL_CARD: Final = "model_card.md"
WEIGHTS: Final = "model.weights.h5"
LINEAGE: Final = "lineage.json"
MANIFEST: Final = "manifest.json"

_CHUNK: Final = 1 << 20


def read_file(store: ArtefactStore, digest: str, name: str) -> bytes:
    """One small file of the version. Raises ``ArtefactCorrupt``, ``StoreUnavailable``."""
    data = find_file(store, digest, name)
    if data is None:
        raise ArtefactCorrupt(
            f"{artefact_prefix(digest)}/{name}", "its manifest does not name the file"
        )
    return data


def find_file(store: ArtefactStore, digest: str, name: str) -> bytes | None:
    """One small file of the version, or None if the version never had it.

    Raises ``ArtefactCorrupt``, ``StoreUnavailable``.
    """
    expected = _hashes(store, digest).get(name)
    if expected is None:
        return None
    return read_checked(store, f"{artefact_prefix(digest)}/{name}", expected)


def read_checked(store: ArtefactStore, key: str, sha256: str) -> bytes:
    """A small file by its hex SHA-256. Raises ``ArtefactCorrupt``, ``StoreUnavailable``."""
    data = _get(store, key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtefactCorrupt(key)
    return data


def check_files(store: ArtefactStore, digest: str) -> None:
    """Read every file of the version through, in constant memory.

    Raises ``ArtefactCorrupt`` for the first that is missing or changed, ``StoreUnavailable``.
    """
    for name, expected in sorted(_hashes(store, digest).items()):
        key = f"{artefact_prefix(digest)}/{name}"
        if _streamed_hash(store, key) != expected:
            raise ArtefactCorrupt(key)


def _hashes(store: ArtefactStore, digest: str) -> Mapping[str, str]:
    """File name to hex SHA-256, as the version's manifest has it."""
    files: Mapping[str, str] = read_manifest(store, digest)["files"]
    return files


def read_manifest(store: ArtefactStore, digest: str) -> Mapping[str, Any]:
    """The version's manifest. Raises ``ArtefactCorrupt``, ``StoreUnavailable``."""
    key = f"{artefact_prefix(digest)}/{MANIFEST}"
    text = _get(store, key)
    if hashlib.sha256(text).hexdigest() != digest:
        raise ArtefactCorrupt(key)
    manifest: Mapping[str, Any] = json.loads(text)
    return manifest


def _get(store: ArtefactStore, key: str) -> bytes:
    try:
        return store.get(key)
    except NotFound as exc:
        raise ArtefactCorrupt(key, "the file is missing") from exc


def _streamed_hash(store: ArtefactStore, key: str) -> str:
    digest = hashlib.sha256()
    try:
        with store.open(key) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except NotFound as exc:
        raise ArtefactCorrupt(key, "the file is missing") from exc
    return digest.hexdigest()
