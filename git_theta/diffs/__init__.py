"""Differences between two versions of checkpoints: what they are, how they are measured, and how they are shown."""
