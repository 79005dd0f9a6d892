"""The last layer alone, trained on features that the frozen backbone gave once."""

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

_BATCH: Final = 64
_RATE: Final = 1e-3
_DECAY: Final = 1e-3


def fit_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    class_weights: Sequence[float],
    epochs: int,
    seed: int,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Kernel (d, classes) and bias (classes,) of a dense layer over ``features`` (n, d)."""
    dense = layers.Dense(len(class_weights))
    model = keras.Sequential([layers.Input(features.shape[1:]), dense])
    model.compile(
        keras.optimizers.AdamW(_RATE, weight_decay=_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = np.random.default_rng(seed).permutation(len(labels))
    weights = np.asarray(class_weights)[labels]
    model.fit(
        features[order],
        labels[order],
        sample_weight=weights[order],
        batch_size=_BATCH,
        epochs=epochs,
        verbose=0,
    )
    kernel, bias = dense.get_weights()
    return kernel, bias
