"""A training job's checkpoints in the artefact store, so that another worker can go on."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from core.errors import NotFound
from core.ports import ArtefactStore
from core.training import EpochProgress
from workers.model_artefact import sha256_hex
from workers.training_hooks import checkpoint_prefix

_STATE: Final = "state.json"
_BEGUN: Final = "begun"
Arrays = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Where a job stands after an epoch: what it has measured, and which epoch was best.

    ``best_score`` is that epoch's macro-F1 and negative loss on validation slices.
    ``weights_source`` is what the model started from, so that it is built alike when it goes on.
    """

    weights_source: str
    history: tuple[EpochProgress, ...] = field(default=())
    best_epoch: int = 0
    best_score: tuple[float, float] = (-1.0, float("-inf"))

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def followed_by(self, progress: EpochProgress, score: tuple[float, float]) -> "TrainingState":
        """The state after one more epoch."""
        after = replace(self, history=(*self.history, progress))
        if score > self.best_score:
            after = replace(after, best_epoch=progress.epoch, best_score=score)
        return after


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """``last`` is every variable of model and optimizer after the last epoch, ``best`` the
    model's weights after the best one."""

    state: TrainingState
    last: Arrays
    best: Arrays


class Checkpoints:
    """The newest checkpoint of a job, or of a part of it.

    Files of an epoch get names of their own and ``state.json`` is written last and names them
    with their hashes, so that a cut-short write leaves the checkpoint before it whole.
    """

    def __init__(self, store: ArtefactStore, job_id: str, part: str = "model") -> None:
        self.store = store
        self._prefix = f"{checkpoint_prefix(job_id)}/{part}"
        self._best_hash: dict[str, str] = {}

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint before. Raises ``StoreUnavailable``."""
        last, best = _names(checkpoint.state)
        if best not in self._best_hash:  # written when that epoch was the last
            self._best_hash = {best: self._put(best, _packed(checkpoint.best))}
        hashes = {last: self._put(last, _packed(checkpoint.last)), **self._best_hash}
        text = json.dumps({"state": asdict(checkpoint.state), "files": hashes})
        self.store.put(f"{self._prefix}/{_STATE}", text.encode())
        self._forget_all_but({_STATE, *hashes})

    def load(self) -> Checkpoint | None:
        """The newest checkpoint; None if there is none that is whole: the job starts again."""
        try:
            text = json.loads(self.store.get(f"{self._prefix}/{_STATE}"))
            files = {name: self.store.get(f"{self._prefix}/{name}") for name in text["files"]}
        except NotFound:
            return None
        if {name: sha256_hex(data) for name, data in files.items()} != text["files"]:
            return None
        state = _state(text["state"])
        last, best = _names(state)
        return Checkpoint(state=state, last=_unpacked(files[last]), best=_unpacked(files[best]))

    def mark_begun(self) -> bool:
        """Leave a mark that goes with the next checkpoint; whether there was one already.

        Raises ``StoreUnavailable``.
        """
        key = f"{self._prefix}/{_BEGUN}"
        was_begun = self.store.exists(key)
        self.store.put(key, b"")
        return was_begun

    def forget(self) -> None:
        """Remove it; it is of no more use. Raises ``StoreUnavailable``."""
        self.store.delete(self._prefix)

    def _put(self, name: str, data: bytes) -> str:
        self.store.put(f"{self._prefix}/{name}", data)
        return sha256_hex(data)

    def _forget_all_but(self, kept: set[str]) -> None:
        for key in self.store.list(self._prefix):
            if key.rsplit("/", 1)[-1] not in kept:
                self.store.delete(key)


def _names(state: TrainingState) -> tuple[str, str]:
    return f"last-{state.epoch}.npz", f"best-{state.best_epoch}.npz"


def _packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> Arrays:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


def _state(values: dict[str, Any]) -> TrainingState:
    history = tuple(EpochProgress(**epoch) for epoch in values["history"])
    f1, loss = values["best_score"]
    return TrainingState(**{**values, "history": history, "best_score": (f1, loss)})
