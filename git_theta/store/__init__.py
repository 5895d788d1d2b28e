"""Immutable, content-addressed objects: how an array becomes one, where it lies, and how it travels."""
