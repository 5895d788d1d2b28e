"""Git-Theta: develop machine-learning models with plain Git."""

__version__ = "1.0.0"
