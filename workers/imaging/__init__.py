"""From encoded bytes to the pixels a model sees: one path, for training and for serving."""
