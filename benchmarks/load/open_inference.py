"""The Open Inference Protocol, version 2, as far as it takes to ask about one scan."""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.load.grpc_system import Dialect
from core.labels import LABELS

_SERVICE: Final = "inference.GRPCInferenceService"
_REQUEST: Final = "inference.ModelInferRequest"
_RESPONSE: Final = "inference.ModelInferResponse"


def open_inference_dialect(protocol: bytes, model: str) -> Dialect:
    """``protocol`` is the protocol's file descriptor, serialised, as the server has it.

    The model takes one BYTES input of an encoded picture and gives FP32 logits first.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(protocol))
    request_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(_REQUEST))
    response_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(_RESPONSE))

    def request_for(scan: bytes) -> bytes:
        request: Any = request_class(model_name=model)
        image = request.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
        image.contents.bytes_contents.append(scan)
        return bytes(request.SerializeToString())

    def label_of(reply: bytes) -> str:
        response: Any = response_class.FromString(reply)
        logits = list(response.outputs[0].contents.fp32_contents)
        return str(LABELS[logits.index(max(logits))])

    return Dialect(method=f"/{_SERVICE}/ModelInfer", request_for=request_for, label_of=label_of)
