"""Messages survive msgpack, which knows neither tuples nor enums."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import OnBadFile
from core.errors import BrainTumorError, ImageProblem, ImageRefused, InternalError, NotFound
from core.labels import LABELS
from core.messages import (
    InferenceBatch,
    InferenceItem,
    IngestRequest,
    IngestSource,
    Reply,
    Segmenter,
)
from core.prediction import Box, Decision, MaskFormat, Prediction, Region, RegionMask


def through_msgpack(payload: dict[str, Any]) -> Any:
    return msgpack.unpackb(msgpack.packb(payload))


def a_region(mask_format: MaskFormat | None) -> Region:
    mask = None
    if mask_format is not None:
        mask = RegionMask(format=mask_format, width=3, height=4, data=b"\x00\xff")
    return Region(box=Box(x0=1, y0=2, x1=3, y1=4), score=0.1 + 0.2, area_px=4, mask=mask)


def a_prediction(**changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "probabilities": (0.1 + 0.2, 1 / 3, 5e-324, 0.36666666666666664),
        "decision": Decision.ABSTAINED,
        "model_version": "v1",
        "regions": (a_region(None), a_region(MaskFormat.PNG), a_region(MaskFormat.COCO_RLE)),
        "activation_map": b"\x89PNG\r\n",
    }
    return Prediction(**(values | changes))


items = st.builds(
    InferenceItem,
    image=st.binary(max_size=64),
    deadline=st.floats(min_value=0, max_value=4e9),
    include_activation_map=st.booleans(),
    mask_format=st.none() | st.sampled_from(MaskFormat),
)
segmenters = st.none() | st.builds(Segmenter, version=st.text(max_size=9), digest=st.just("e" * 64))


@given(
    items=st.lists(items, max_size=5).map(tuple), version=st.text(max_size=20), segmenter=segmenters
)
def test_a_batch(
    items: tuple[InferenceItem, ...], version: str, segmenter: Segmenter | None
) -> None:
    batch = InferenceBatch(
        id="b1",
        reply_to="r",
        model_version=version,
        digest="d" * 64,
        items=items,
        segmenter=segmenter,
    )
    back = InferenceBatch.from_wire(through_msgpack(batch.to_wire()))
    assert back == batch
    assert all(type(item.mask_format) in {type(None), MaskFormat} for item in back.items)


def test_what_a_message_does_not_use_a_neighbouring_version_need_not_know() -> None:
    item = InferenceItem(image=b"x", deadline=1.0)
    batch = InferenceBatch(id="b", reply_to="r", model_version="v", digest="d", items=(item,))
    assert batch.to_wire() == {
        "id": "b",
        "reply_to": "r",
        "model_version": "v",
        "digest": "d",
        "items": [{"image": b"x", "deadline": 1.0}],
    }
    answer = a_prediction(regions=(a_region(None),), activation_map=b"")
    reply = Reply(id="b", worker="w", results=(answer,)).to_wire()
    assert reply["results"] == [
        {
            "prediction": {
                "probabilities": answer.probabilities,
                "decision": "ABSTAINED",
                "model_version": "v1",
                "regions": [
                    {
                        "box": {"x0": 1, "y0": 2, "x1": 3, "y1": 4},
                        "score": 0.1 + 0.2,
                        "area_px": 4,
                    }
                ],
            }
        }
    ]


def test_why_there_are_no_regions_travels_with_the_answer() -> None:
    sent = a_prediction(regions=(), regions_error=NotFound("modelVersions/s"))
    reply = Reply(id="b", worker="w", results=(sent,))
    (back,) = Reply.from_wire(through_msgpack(reply.to_wire())).results
    assert isinstance(back.regions_error, NotFound)
    assert back.regions_error.name == "modelVersions/s"
    assert back.probabilities == sent.probabilities


def test_pictures_travel_as_raw_bytes() -> None:
    image = bytes(range(256)) * 40
    item = InferenceItem(image=image, deadline=1.0)
    batch = InferenceBatch(id="b", reply_to="r", model_version="v", digest="d", items=(item,))
    packed = msgpack.packb(batch.to_wire())
    assert image in packed
    assert len(packed) < len(image) + 200


@pytest.mark.parametrize("source", IngestSource)
@pytest.mark.parametrize("on_bad_file", OnBadFile)
@pytest.mark.parametrize("request_id", [None, "0b4c1f0e-57a4-4c3c-9c1f-2f8f3f0a2a11"])
def test_an_ingest_request(
    source: IngestSource, on_bad_file: OnBadFile, request_id: str | None
) -> None:
    request = IngestRequest(
        id="i1",
        reply_to="r",
        dataset_id="brains",
        source=source,
        location="uploads/i1",
        origin="upload",
        on_bad_file=on_bad_file,
        request_id=request_id,
        caller="änn",
        take_up_by=1.5,
    )
    back = IngestRequest.from_wire(through_msgpack(request.to_wire()))
    assert back == request
    assert (type(back.source), type(back.on_bad_file)) == (IngestSource, OnBadFile)


def test_a_reply_of_predictions() -> None:
    bare = a_prediction(regions=(), activation_map=b"", decision=Decision.ACCEPTED)
    reply = Reply(id="b1", worker="w", results=(a_prediction(), bare))
    back = Reply.from_wire(through_msgpack(reply.to_wire()))
    assert back == reply
    assert isinstance(back.results[0].decision, Decision)


@given(st.lists(st.floats(0, 1), min_size=len(LABELS), max_size=len(LABELS)))
def test_probabilities_arrive_to_the_last_bit(probabilities: list[float]) -> None:
    sent = a_prediction(probabilities=tuple(probabilities))
    reply = Reply(id="b1", worker="w", results=(sent,))
    assert Reply.from_wire(through_msgpack(reply.to_wire())).results == (sent,)


def test_a_reply_of_errors() -> None:
    refused = ImageRefused(ImageProblem.ANIMATED, "It moves.")
    reply = Reply(id="b1", worker="w", results=(refused, a_prediction(), NotFound("x/y")))
    first, second, third = Reply.from_wire(through_msgpack(reply.to_wire())).results
    assert (type(first), first.problem) == (ImageRefused, ImageProblem.ANIMATED)
    assert second == a_prediction()
    assert (type(third), third.name) == (NotFound, "x/y")


def test_a_reply_of_a_plain_value() -> None:
    reply = Reply(id="i1", worker="w", results=("brains",))
    assert Reply.from_wire(through_msgpack(reply.to_wire())) == reply


def test_an_error_of_a_newer_worker_does_not_cost_the_others_their_answers() -> None:
    wire = {
        "id": "b1",
        "kind": "done",
        "worker": "w",
        "results": [{"error": {"type": "ErrorOfTomorrow", "data": {"x": 1}}}, {"value": 1}],
    }
    error, value = Reply.from_wire(through_msgpack(wire)).results
    assert isinstance(error, BrainTumorError)
    assert (type(error), value) == (InternalError, 1)
