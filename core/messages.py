"""What gateway and workers say to each other over the broker.

Every message turns into plain values that msgpack carries (``to_wire``) and back
(``from_wire``); pictures stay raw bytes.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from core import errors
from core.datasets import OnBadFile
from core.errors import BrainTumorError
from core.prediction import Box, Decision, MaskFormat, Prediction, Region, RegionMask


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """The model version that outlines: its id and its content hash."""

    version: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class InferenceItem:
    """One picture of a batch. ``deadline`` is seconds since the epoch (wall clock)."""

    image: bytes
    deadline: float
    include_activation_map: bool = False
    mask_format: MaskFormat | None = None


@dataclass(frozen=True, kw_only=True)
class InferenceBatch:
    """Pictures for one model version; ``id`` comes back in the reply to ``reply_to``.

    With a ``segmenter``, tumours are outlined too.
    """

    id: str
    reply_to: str
    model_version: str
    digest: str
    items: tuple[InferenceItem, ...]
    segmenter: Segmenter | None = None

    def to_wire(self) -> dict[str, Any]:
        payload = _sparse(self) | {"items": [_item_to_wire(item) for item in self.items]}
        if self.segmenter is not None:
            payload["segmenter"] = asdict(self.segmenter)
        return payload

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> Self:
        segmenter = payload.get("segmenter")
        return cls(
            **{
                **payload,
                "items": tuple(map(_item_from_wire, payload["items"])),
                "segmenter": segmenter and Segmenter(**segmenter),
            }
        )


def _item_to_wire(item: InferenceItem) -> dict[str, Any]:
    payload = _sparse(item)
    if item.mask_format is not None:
        payload["mask_format"] = str(item.mask_format)
    return payload


def _item_from_wire(payload: Mapping[str, Any]) -> InferenceItem:
    wanted = payload.get("mask_format")
    return InferenceItem(**{**payload, "mask_format": wanted and MaskFormat(wanted)})


def _sparse(record: Any) -> dict[str, Any]:
    """The fields that differ from their default.

    What a message does not use, a gateway or worker of the version before need not know.
    """
    values = ((field, getattr(record, field.name)) for field in fields(record))
    return {f.name: value for f, value in values if f.default is MISSING or value != f.default}


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


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A worker's answer to one message, with one result per item."""

    id: str
    worker: str
    results: tuple[Any, ...]

    def to_wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": "done",  # for gateways of the version before, which know of others
            "worker": self.worker,
            "results": [_result_to_wire(r) for r in self.results],
        }

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> Self:
        return cls(
            id=payload["id"],
            worker=payload["worker"],
            results=tuple(_result_from_wire(r) for r in payload["results"]),
        )


def _result_to_wire(result: Any) -> dict[str, Any]:
    if isinstance(result, BrainTumorError):
        return {"error": errors.to_wire(result)}
    if isinstance(result, Prediction):
        return {"prediction": prediction_to_wire(result)}
    return {"value": result}


def _result_from_wire(payload: Mapping[str, Any]) -> Any:
    if "error" in payload:
        return errors.from_wire(payload["error"])
    if "prediction" in payload:
        return prediction_from_wire(payload["prediction"])
    return payload["value"]


def prediction_to_wire(prediction: Prediction) -> dict[str, Any]:
    """Plain values that msgpack carries."""
    failed = prediction.regions_error
    payload = {
        **_sparse(replace(prediction, regions_error=None)),
        "decision": str(prediction.decision),
        "regions": [_region_to_wire(region) for region in prediction.regions],
    }
    return payload if failed is None else payload | {"regions_error": errors.to_wire(failed)}


def prediction_from_wire(payload: Mapping[str, Any]) -> Prediction:
    """What :func:`prediction_to_wire` made."""
    failed = payload.get("regions_error")
    return Prediction(
        **{
            **payload,
            "probabilities": tuple(payload["probabilities"]),
            "decision": Decision(payload["decision"]),
            "regions": tuple(map(_region_from_wire, payload["regions"])),
            "regions_error": failed and errors.from_wire(failed),
        }
    )


def _region_to_wire(region: Region) -> dict[str, Any]:
    payload = _sparse(region) | {"box": asdict(region.box)}
    if region.mask is not None:
        payload["mask"] = {**asdict(region.mask), "format": str(region.mask.format)}
    return payload


def _region_from_wire(payload: Mapping[str, Any]) -> Region:
    mask = payload.get("mask")
    return Region(
        **{
            **payload,
            "box": Box(**payload["box"]),
            "mask": mask and RegionMask(**{**mask, "format": MaskFormat(mask["format"])}),
        }
    )
