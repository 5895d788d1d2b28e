"""What files say more about groups than dtype, shape and values. What becomes of it is tested in test_structure.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_theta.checkpoints import formats
from git_theta.flows.merging.labels import Labelled
from git_theta.flows.merging.plan import Versions
from tests.flows.merging.scene import checkpoint, entry
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable


def test_sources_are_found_in_time_that_grows_with_the_number_of_groups() -> None:
    def find(size: int) -> Callable[[], object]:
        old, new = ([entry(f"{layer}/{number}", "1") for number in range(size)] for layer in ("old", "new"))
        versions = Versions(checkpoint(*old), (checkpoint(*old), checkpoint(*old, *new)))
        told = Labelled(versions, formats(), lambda _: b"", lambda _: {}, lambda _: "")
        origins = dict.fromkeys((one.name for one in old), 0) | dict.fromkeys((one.name for one in new), 1)
        assert told.sources(0, [*old, *new], origins) == {one.name: versions.sides[1] for one in new}
        return lambda: told.sources(0, [*old, *new], origins)

    assert grows_linearly(find, 500)
