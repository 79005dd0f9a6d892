"""Training. The only package that imports TensorFlow, and only in a training worker's child."""
