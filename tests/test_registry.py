"""Plug-in families: built-ins when they are used, entry points after them, and errors that help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from git_theta.checkpoints import formats
from git_theta.errors import PluginError
from git_theta.merges import merge_methods
from git_theta.registry import Family
from git_theta.updates import update_types

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "git_theta.tests.plugins"
MODULE = "theta_test_plugins"


class Install(Protocol):
    def __call__(self, points: dict[str, str], code: str = ...) -> None: ...


class Fake:
    """A member of a family."""

    name = "fake"


def family(**builtins: str) -> Family[Any]:
    return Family("sort of plug-in", GROUP, builtins)


HERE = f"{__name__}:Fake"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make another package announce members, in a module of that code."""

    def do(points: dict[str, str], code: str = "class Plugin:\n    pass\n") -> None:
        (tmp_path / f"{MODULE}.py").write_text(code)
        folder = tmp_path / f"{MODULE}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)

    return do


def test_a_builtin_is_made_when_it_is_first_used_and_then_kept() -> None:
    fakes = family(fake=HERE)
    assert fakes.loaded == {}
    member = fakes.get("fake")
    assert isinstance(member, Fake)
    assert fakes.get("fake") is member


def test_naming_the_members_imports_none() -> None:
    assert family(one="no.such.module:One", two="no.such.module:Two").names() == ("one", "two")


def test_members_of_one_family_are_not_in_a_fresh_one() -> None:
    first, second = family(fake=HERE), family(fake=HERE)
    assert first.get("fake") is not second.get("fake")


def test_a_fake_can_be_registered_on_a_fresh_family() -> None:
    fake = Fake()
    assert Family("sort of plug-in", GROUP, {"fake": "not:used"}, {"fake": fake}).get("fake") is fake


def test_builtin_members_come_in_the_order_of_their_table() -> None:
    fakes = family(zeta=HERE, alpha=HERE)
    assert list(fakes.builtin_members()) == [fakes.get("zeta"), fakes.get("alpha")]


def test_unknown_name_lists_the_known_ones(install: Install) -> None:
    install({"other": f"{MODULE}:Plugin"})
    with pytest.raises(PluginError, match=r"^unknown sort of plug-in 'odd'; known are: fake, other$"):
        family(fake=HERE).get("odd")


def test_members_of_other_packages_are_found_and_named_after_the_builtins(install: Install) -> None:
    install({"zeta": f"{MODULE}:Plugin", "alpha": f"{MODULE}:Plugin"})
    fakes = family(fake=HERE)
    assert fakes.names() == ("fake", "alpha", "zeta")
    assert type(fakes.get("zeta")).__module__ == MODULE
    assert MODULE in sys.modules


def test_another_package_cannot_replace_a_builtin(install: Install) -> None:
    install({"fake": f"{MODULE}:Plugin"})
    fakes = family(fake=HERE)
    assert isinstance(fakes.get("fake"), Fake)
    assert fakes.names() == ("fake",)


def test_members_of_another_group_are_not_ours(install: Install) -> None:
    install({"other": f"{MODULE}:Plugin"})
    assert Family("sort of plug-in", f"{GROUP}.more", {}).names() == ()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("no.such.module:Plugin", ""),
        (f"{MODULE}:Missing", "class Plugin: pass"),
        (f"{MODULE}:Plugin", "this is not Python"),
        (f"{MODULE}:Plugin", "raise RuntimeError('at import')"),
        (f"{MODULE}:Plugin", "raise SystemExit(0)"),
        (f"{MODULE}:Plugin", "import a_framework_that_is_not_installed"),
        (f"{MODULE}:Plugin", "class Plugin:\n    def __init__(self):\n        raise OSError('at start')\n"),
        (f"{MODULE}:Plugin", "Plugin = 1"),
    ],
    ids=["no module", "no attribute", "syntax", "raises", "exits", "missing framework", "constructor", "not callable"],
)
def test_plug_in_that_cannot_be_loaded_is_named(install: Install, target: str, code: str) -> None:
    install({"broken": target}, code)
    fakes = family(fake=HERE)
    with pytest.raises(PluginError, match=r"^the sort of plug-in 'broken' ") as caught:
        fakes.get("broken")
    assert target in str(caught.value)
    assert "cannot be loaded" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert isinstance(fakes.get("fake"), Fake)


@pytest.mark.parametrize("name", ["Upper", "with space", 'quo"te', "\u00fc", "a" * 65])
def test_a_name_that_no_metadata_file_can_have_is_an_error(install: Install, name: str) -> None:
    install({name: f"{MODULE}:Plugin"})
    with pytest.raises(PluginError, match="cannot be the name of a plug-in"):
        family(fake=HERE).get(name)


def test_a_member_may_be_announced_instead_of_its_class(install: Install) -> None:
    install({"other": f"{MODULE}:plugin"}, "class Plugin:\n    name = 'other'\nplugin = Plugin()\n")
    assert family().get("other") is sys.modules[MODULE].plugin


@pytest.mark.parametrize("target", [f"{MODULE}:Outer.Plugin", f"{MODULE}:Plugin [extra]"])
def test_targets_may_have_all_that_an_entry_point_allows(install: Install, target: str) -> None:
    install({"other": target}, "class Plugin: pass\nclass Outer:\n    class Plugin: pass\n")
    assert type(family().get("other")).__name__ == "Plugin"


@pytest.mark.parametrize("fresh", [formats, merge_methods, update_types])
def test_every_builtin_loads_and_goes_by_its_name(fresh: Any) -> None:
    assert fresh().builtins
    assert [member.name for member in fresh().builtin_members()] == list(fresh().builtins)
