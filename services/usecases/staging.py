"""Where the files of an upload wait for the worker that checks them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from core.ports import ArtefactStore, Clock

FORGOTTEN_AFTER: Final = timedelta(days=1)
"""Far longer than an upload takes; what is older was left by a gateway that died."""

_FOLDER: Final = "staging"
_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One file of an upload: its path in the data set, and its key in the artefact store."""

    path: str
    key: str
    sha256: str
    size_bytes: int


class Staging:
    """Folders in the artefact store, one an upload, named by the time of its begin."""

    def __init__(self, *, artefacts: ArtefactStore, clock: Clock) -> None:
        self._artefacts = artefacts
        self._clock = clock

    def new_location(self) -> str:
        return f"{_FOLDER}/{self._clock.now().strftime(_TIME)}-{uuid4().hex}"

    def put(self, location: str, number: int, source: Path) -> str:
        """Store the upload's n-th file; its key. Names of callers stay out of the keys."""
        key = f"{location}/{number:06d}"
        self._artefacts.put_file(key, source)
        return key

    def put_index(self, location: str, files: Sequence[StagedFile]) -> None:
        """Write what the worker reads first."""
        index = json.dumps([asdict(file) for file in files]).encode()
        self._artefacts.put(f"{location}/index.json", index)

    def remove(self, location: str) -> None:
        self._artefacts.delete(location)

    def remove_forgotten(self) -> int:
        """Remove what uploads that ended with their gateway left; how many there were."""
        oldest = self._clock.now() - FORGOTTEN_AFTER
        keys = self._artefacts.list(_FOLDER)
        locations = {"/".join(key.split("/", 2)[:2]) for key in keys}
        forgotten = [location for location in locations if _begun(location) < oldest]
        for location in forgotten:
            self.remove(location)
        return len(forgotten)


def _begun(location: str) -> datetime:
    """When the upload began; for a name that is not ours, the end of time."""
    stamp = location.split("/")[-1].partition("-")[0]
    try:
        return datetime.strptime(stamp, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
