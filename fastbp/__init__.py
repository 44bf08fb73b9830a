"""fastbp: the fastest way to train small neural networks from Python."""

__version__ = "0.1.0"
