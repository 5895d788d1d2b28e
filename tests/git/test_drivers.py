"""The configuration that makes git call Git-Theta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

KEYS = ["filter.theta.clean", "filter.theta.smudge", "filter.theta.process", "filter.theta.required"]
MERGE_KEYS = ["merge.theta.name", "merge.theta.driver", "mergetool.theta.cmd", "mergetool.theta.trustExitCode"]


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository that is the current directory."""
    monkeypatch.chdir(repo.path)
    return repo


def settings(repo: Repo, scope: str = "local") -> dict[str, str]:
    listed = repo.git("config", f"--{scope}", "-z", "--get-regexp", r"\.theta\.", check=False).stdout
    return dict(field.split("\n", 1) for field in listed.split("\0")[:-1])


def test_nothing_installed_nothing_is_said_to_be(here: Repo) -> None:
    assert not drivers.are_installed()
    assert settings(here) == {}


@pytest.mark.parametrize("scope", ["local", "global"])
def test_install_writes_filter_and_merge_driver_to_the_scope(here: Repo, scope: str) -> None:
    drivers.install(scope, skip_smudge=False, force=False)
    assert sorted(settings(here, scope)) == sorted(key.lower() for key in KEYS + MERGE_KEYS)
    assert settings(here, scope)["filter.theta.required"] == "true"
    assert settings(here, scope)["filter.theta.process"] == "git-theta filter-process"
    assert settings(here, "global" if scope == "local" else "local") == {}
    assert drivers.are_installed()


def test_filter_without_the_merge_driver_is_not_installed(here: Repo) -> None:
    drivers.install("local", skip_smudge=False, force=False)
    here.git("config", "--unset", "merge.theta.driver")
    assert not drivers.are_installed()


def test_install_twice_changes_nothing(here: Repo) -> None:
    drivers.install("local", skip_smudge=False, force=False)
    before = here.read(".git/config")
    drivers.install("local", skip_smudge=False, force=False)
    assert here.read(".git/config") == before


def test_skip_smudge_can_be_switched_on_and_off_without_force(here: Repo) -> None:
    drivers.install("local", skip_smudge=False, force=False)
    plain = settings(here)
    drivers.install("local", skip_smudge=True, force=False)
    assert settings(here)["filter.theta.process"] == "git-theta filter-process --skip"
    assert settings(here)["filter.theta.smudge"] == "git-theta smudge --skip -- %f"
    assert settings(here)["filter.theta.clean"] == plain["filter.theta.clean"]
    drivers.install("local", skip_smudge=False, force=False)
    assert settings(here) == plain


@pytest.mark.parametrize("key", KEYS + MERGE_KEYS)
def test_other_setting_under_our_name_is_refused_and_nothing_is_written(here: Repo, key: str) -> None:
    here.git("config", "--local", key, "something else")
    with pytest.raises(GitError) as refused:
        drivers.install("local", skip_smudge=False, force=False)
    assert str(refused.value) == (
        f"the local git configuration has {key} = 'something else': use --force to replace it"
    )
    assert settings(here) == {key.lower(): "something else"}


def test_other_setting_under_our_name_is_replaced_by_force(here: Repo) -> None:
    here.git("config", "--local", "--add", "filter.theta.clean", "one")
    here.git("config", "--local", "--add", "filter.theta.clean", "two")
    drivers.install("local", skip_smudge=False, force=True)
    assert here.git("config", "--get-all", "filter.theta.clean").stdout == "git-theta clean -- %f\n"


def test_setting_without_a_value_is_another_setting(here: Repo) -> None:
    here.write(".git/config", '[filter "theta"]\n\tclean\n')
    with pytest.raises(GitError, match=r"filter\.theta\.clean = ''"):
        drivers.install("local", skip_smudge=False, force=False)


def test_setting_whose_first_line_is_ours_is_another_setting(here: Repo) -> None:
    here.git("config", "--local", "filter.theta.clean", "git-theta clean -- %f\ntouch owned")
    with pytest.raises(GitError, match=r"filter\.theta\.clean"):
        drivers.install("local", skip_smudge=False, force=False)


def test_other_setting_in_another_scope_is_not_in_the_way(here: Repo, global_config: Path) -> None:
    here.git("config", "--global", "filter.theta.clean", "something else")
    before = global_config.read_bytes()
    drivers.install("local", skip_smudge=False, force=False)
    assert settings(here)["filter.theta.clean"] == "git-theta clean -- %f"
    assert global_config.read_bytes() == before


def test_configuration_that_cannot_be_written_is_an_error_of_ours(here: Repo) -> None:
    here.write(".git/config.lock", "")
    with pytest.raises(GitError, match="could not lock config file"):
        drivers.install("local", skip_smudge=False, force=False)


def test_uninstall_leaves_everything_else_as_it_was(here: Repo) -> None:
    here.git("config", "--local", "filter.lfs.clean", "git-lfs clean -- %f")
    before = here.read(".git/config")
    drivers.install("local", skip_smudge=False, force=False)
    assert drivers.uninstall("local")
    assert here.read(".git/config") == before
    assert not drivers.are_installed()


def test_uninstall_of_nothing_says_so(here: Repo) -> None:
    before = here.read(".git/config")
    assert not drivers.uninstall("local")
    assert here.read(".git/config") == before


def test_uninstall_of_a_half_takes_the_half(here: Repo) -> None:
    here.git("config", "--local", "merge.theta.driver", "git-theta merge-driver --marker-size %L %O %A %B %P")
    assert drivers.uninstall("local")
    assert settings(here) == {}


def test_uninstall_keeps_to_its_scope(here: Repo) -> None:
    drivers.install("local", skip_smudge=False, force=False)
    drivers.install("global", skip_smudge=False, force=False)
    assert drivers.uninstall("local")
    assert settings(here, "local") == {}
    assert drivers.are_installed()


def test_uninstall_that_fails_does_not_say_that_there_was_nothing(here: Repo) -> None:
    drivers.install("local", skip_smudge=False, force=False)
    here.write(".git/config.lock", "")
    with pytest.raises(GitError, match="could not lock config file"):
        drivers.uninstall("local")


@pytest.mark.usefixtures("here")
def test_skipped_smudging_is_known() -> None:
    assert not drivers.skips_smudge()
    drivers.install("local", skip_smudge=False, force=False)
    assert not drivers.skips_smudge()
    drivers.install("local", skip_smudge=True, force=False)
    assert drivers.skips_smudge()
