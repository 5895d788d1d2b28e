"""What a merge says of its conflicts."""

from __future__ import annotations

import pytest

from git_theta.merges.decisions import Clash, Conflict, described


@pytest.mark.parametrize(
    ("clashes", "said"),
    [
        ({"a": Clash.VALUES, "b": Clash.TEXT}, "both sides changed a, b"),
        ({"q": Clash.PARTS, "s": Clash.PARTS}, "both sides changed parts of a tensor: q, s"),
        (
            {"a": Clash.REMOVED, "q": Clash.PARTS, "s": Clash.PARTS},
            "both sides changed a; both sides changed parts of a tensor: q, s",
        ),
    ],
)
def test_parts_that_one_side_changed_are_not_said_to_be_changed_by_both(clashes: dict[str, Clash], said: str) -> None:
    assert described([Conflict(name, clash, None, (None, None)) for name, clash in clashes.items()]) == said
