"""What a model is worth, and how sure it may be: NumPy and scikit-learn, no TensorFlow."""
