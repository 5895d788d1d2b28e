"""Attributes, asked of one process of git."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.attribute_values import AttributeValues

if TYPE_CHECKING:
    from tests.helpers import Repo


def test_values_of_one_path_after_the_other(repo: Repo) -> None:
    repo.write(".gitattributes", "*.pt one=a two\n")
    repo.write("sub/.gitattributes", "*.pt one=b -two\n")
    values = AttributeValues(repo.path, ["check-attr", "--stdin", "-z", "one", "two"], 2)
    for _ in range(2):
        assert values.of("x.pt") == {"one": "a", "two": "set"}
        assert values.of("sub/line\nbreak.pt") == {"one": "b", "two": "unset"}
        assert values.of("other") == {"one": "unspecified", "two": "unspecified"}


def test_name_that_is_none_is_an_error(repo: Repo) -> None:
    with pytest.raises(GitError, match="not a valid attribute name"):
        AttributeValues(repo.path, ["check-attr", "--stdin", "-z", "no name"], 1).of("x")
