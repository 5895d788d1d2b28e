"""Attributes, asked of one process of git."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.attribute_values import AttributeValues

if TYPE_CHECKING:
    from tests.helpers import Repo


def test_values_of_one_path_after_the_other(repo: Repo) -> None:
    repo.write(".gitattributes", "*.pt one=a two=c\n*.bin one\n")
    repo.write("sub/.gitattributes", "*.pt one=b\n*.bin -one\n")
    values = AttributeValues(repo.path, ["check-attr", "--stdin", "-z", "one"])
    for _ in range(2):
        assert (values.of("x.pt"), values.of("sub/line\nbreak.pt")) == ("a", "b")
        assert (values.of("x.bin"), values.of("sub/x.bin"), values.of("other")) == ("set", "unset", "unspecified")


def test_name_that_is_none_is_an_error(repo: Repo) -> None:
    with pytest.raises(GitError, match="not a valid attribute name"):
        AttributeValues(repo.path, ["check-attr", "--stdin", "-z", "no name"]).of("x")
