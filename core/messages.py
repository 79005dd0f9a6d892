"""What gateway and workers say to each other over the broker.

Every message turns into plain values that msgpack carries (``to_wire``) and back
(``from_wire``); pictures stay raw bytes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from core import errors
from core.datasets import OnBadFile
from core.errors import BrainTumorError
from core.prediction import Box, Decision, Prediction, Region


@dataclass(frozen=True, kw_only=True)
class InferenceItem:
    """One picture of a batch. ``deadline`` is seconds since the epoch (wall clock)."""

    image: bytes
    deadline: float
    include_activation_map: bool = False


@dataclass(frozen=True, kw_only=True)
class InferenceBatch:
    """Pictures for one model version; ``id`` comes back in the reply to ``reply_to``."""

    id: str
    reply_to: str
    model_version: str
    digest: str
    items: tuple[InferenceItem, ...]

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> Self:
        items = tuple(InferenceItem(**item) for item in payload["items"])
        return cls(**{**payload, "items": items})


class IngestSource(StrEnum):
    STAGED = "staged"
    """Files that the gateway has received into the artefact store."""
    URI = "uri"


@dataclass(frozen=True, kw_only=True)
class IngestRequest:
    """A data set to check and store.

    For ``STAGED``, ``location`` is the prefix in the artefact store under which the gateway put
    the files (``{location}/index.json`` lists them); for ``URI`` it is the URI itself. Nobody
    waits any more for what is taken up after ``take_up_by``, in seconds since the epoch.
    """

    id: str
    reply_to: str
    dataset_id: str
    source: IngestSource
    location: str
    origin: str
    on_bad_file: OnBadFile
    request_id: str | None
    caller: str
    take_up_by: float | None = None

    def to_wire(self) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, StrEnum) else v for k, v in asdict(self).items()}

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **payload,
                "source": IngestSource(payload["source"]),
                "on_bad_file": OnBadFile(payload["on_bad_file"]),
            }
        )


class ReplyKind(StrEnum):
    STARTED = "started"
    """A worker has the message in its hands."""
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A worker's word on one message. ``results`` has one entry per item when it is ``DONE``."""

    id: str
    kind: ReplyKind
    worker: str
    results: tuple[Any, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": str(self.kind),
            "worker": self.worker,
            "results": [_result_to_wire(r) for r in self.results],
        }

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> Self:
        return cls(
            id=payload["id"],
            kind=ReplyKind(payload["kind"]),
            worker=payload["worker"],
            results=tuple(_result_from_wire(r) for r in payload["results"]),
        )


def _result_to_wire(result: Any) -> dict[str, Any]:
    if isinstance(result, BrainTumorError):
        return {"error": errors.to_wire(result)}
    if isinstance(result, Prediction):
        return {"prediction": {**asdict(result), "decision": str(result.decision)}}
    return {"value": result}


def _result_from_wire(payload: Mapping[str, Any]) -> Any:
    if "error" in payload:
        return errors.from_wire(payload["error"])
    if "prediction" in payload:
        return _prediction_from_wire(payload["prediction"])
    return payload["value"]


def _prediction_from_wire(payload: Mapping[str, Any]) -> Prediction:
    regions = tuple(
        Region(box=Box(**r["box"]), score=r["score"], area_px=r["area_px"])
        for r in payload["regions"]
    )
    return Prediction(
        **{
            **payload,
            "probabilities": tuple(payload["probabilities"]),
            "decision": Decision(payload["decision"]),
            "regions": regions,
        }
    )
