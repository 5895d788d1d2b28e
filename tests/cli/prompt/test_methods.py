"""Every method that ships is explained."""

from __future__ import annotations

from git_theta.cli.prompt.methods import about
from git_theta.merges import merge_methods
from git_theta.merges.fitting import ROWS


def test_every_built_in_method_is_explained_in_a_line_of_its_own() -> None:
    names = [*merge_methods().builtins, ROWS]
    told = {about(name) for name in names}
    assert len(told) == len(names)
    assert about("mine") not in told
    assert all(len(about(name)) <= 78 - 18 for name in names)
