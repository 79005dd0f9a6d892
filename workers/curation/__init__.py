"""Data sets: taking them in, and splitting them without leaks."""
