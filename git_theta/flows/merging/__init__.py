"""The parts of a merge: what becomes of each group (plan), the values (apply), and all that is no group (structure)."""
