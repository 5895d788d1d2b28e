"""Updates of plug-ins: kept when they give the very values, refused when they do not."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta.errors import CorruptObjectError, PluginError
from git_theta.metadata import Update
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.plugged import Plugged
from tests.helpers import Repo, safetensors_bytes
from tests.updates.scene import Scene, normal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Exclusive:
    """The bits of the base, some of them flipped: by one number for all, which it keeps as its payload."""

    def fit(self, new: bytes, base: bytes, *_: Any) -> Any:
        flips = {one ^ two for one, two in zip(new, base, strict=True)}
        return ({"times": 1, "notes": ["a", 2.5, None]}, bytes(flips)) if len(flips) == 1 else None

    def apply(
        self, base: bytes, settings: Mapping[str, Any], payload: bytes, dtype: str, shape: tuple[int, ...]
    ) -> bytes:
        assert settings == {"times": 1, "notes": ("a", 2.5, None)}
        assert np.prod(shape) * np.dtype(dtype).itemsize == len(base)
        return bytes(byte ^ payload[0] for byte in base)


@dataclass
class Broken(Exclusive):
    """One that gives something else."""

    fitted: Any = None
    applied: Any = None

    def fit(self, new: bytes, base: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
        return super().fit(new, base, dtype, shape) if self.fitted is None else self.fitted

    def apply(self, *_: Any) -> Any:
        if isinstance(self.applied, BaseException):
            raise self.applied
        return self.applied


def scene(tmp_path: Path, plugin: Exclusive) -> Scene:
    types = update_types()
    types.loaded["flips"] = Plugged("flips", plugin)
    return Scene(ObjectStore(tmp_path / "theta"), types)


OLD = normal((20, 30), "float32", 1)
NEW = (OLD.view(np.uint8) ^ 5).view(np.float32)


def test_what_a_plugin_explains_is_kept_as_its_update(tmp_path: Path) -> None:
    place = scene(tmp_path, Exclusive())
    base = place.base(OLD)
    update, data = place.keep(NEW, base, kind="flips")
    assert (update.type, update.bases) == ("flips", (base.update,))
    assert update.parameter("payload") == 1
    assert data == NEW.tobytes()


def test_what_a_plugin_does_not_explain_is_kept_in_the_cheapest_other_way(tmp_path: Path) -> None:
    place = scene(tmp_path, Exclusive())
    new = OLD.copy()
    new[3, 4] = 9
    update, data = place.keep(new, place.base(OLD), kind="flips")
    assert update.type == "sparse"
    assert data == new.tobytes()


def test_chain_of_a_plugin_is_bounded_like_any_other(tmp_path: Path) -> None:
    place = scene(tmp_path, Exclusive())
    update, data = place.keep(NEW, place.base(OLD), kind="flips", limits=Limits(0))
    assert update.type == "dense"
    assert data == NEW.tobytes()


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Broken(applied=bytes(OLD.nbytes)), "does not give the values"),
        (Broken(applied=b""), "does not give the values"),
        (Broken(applied="text"), "gives a str"),
        (Broken(applied=ValueError("no")), "failed: ValueError: no"),
        (Broken(applied=SystemExit(0)), "failed: SystemExit: 0"),
        (Broken(fitted="nonsense"), "no settings and bytes"),
        (Broken(fitted=({"a": object()}, b"")), "a setting of type object"),
        (Broken(fitted=({1: 2}, b"")), "whose name is no text"),
        (Broken(fitted=({"payload": 2}, b"1")), "no settings and bytes"),
        (Broken(fitted=({"a": [float("nan")]}, b"1")), "too deep, too large or no number"),
        (Broken(fitted=({"a": float("inf")}, b"1")), "too deep, too large or no number"),
        (Broken(fitted=({"a": 10**5000}, b"1")), "too deep, too large or no number"),
        (Broken(fitted=({"a": reduce(lambda inner, _: [inner], range(50), [0])}, b"1")), "too deep, too large"),
    ],
)
def test_plugin_that_lies_is_refused_in_one_line(tmp_path: Path, plugin: Exclusive, reason: str) -> None:
    place = scene(tmp_path, plugin)
    with pytest.raises(PluginError, match=reason) as caught:
        place.keep(NEW, place.base(OLD), kind="flips")
    assert "\n" not in str(caught.value)


def test_plugin_that_gives_too_few_values_later_is_an_error(tmp_path: Path) -> None:
    place = scene(tmp_path, Exclusive())
    update, _ = place.keep(NEW, place.base(OLD), kind="flips")
    place.types.loaded["flips"] = Plugged("flips", Broken(applied=b"123"))
    with pytest.raises(CorruptObjectError, match="gives 3 bytes"):
        place.read(update, Group("float32", (20, 30)))


def test_update_of_a_plugin_that_is_not_here_names_it(tmp_path: Path) -> None:
    place = Scene(ObjectStore(tmp_path / "theta"))
    base = place.base(OLD).update
    with pytest.raises(PluginError, match="unknown type of update 'flips'"):
        place.read(replace(base, type="flips", bases=(base,)), Group("float32", (20, 30)))
    assert isinstance(base, Update)


VALUES = {"weight": normal((40, 50), "float32", 3)}
TURNED = {"weight": (255 - VALUES["weight"].view(np.uint8)).view(np.float32)}


def install(repo: Repo, monkeypatch: pytest.MonkeyPatch, says: str = "pass") -> None:
    """Install a plug-in that inverts bits; whatever it does, it does so as well."""
    site = repo.path.parent / "site"
    (site / "flips-1.dist-info").mkdir(parents=True)
    (site / "flips-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: flips\nVersion: 1\n")
    entry = "[git_theta.plugins.updates]\nnegation = flips:Negation\n"
    (site / "flips-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "flips.py").write_text(
        "import os\n"
        "class Negation:\n"
        "    def fit(self, new, base, dtype, shape):\n"
        "        return ({}, b'') if new == self.apply(base, {}, b'', dtype, shape) else None\n"
        "    def apply(self, base, settings, payload, dtype, shape):\n"
        f"        {says}\n"
        "        return bytes(255 - byte for byte in base)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.mark.parametrize("says", ["print('a line', flush=True)", "os.write(1, b'a line')"], ids=["print", "write"])
@pytest.mark.parametrize("is_one_shot", [False, True], ids=["process", "one-shot"])
def test_what_a_plugin_prints_is_not_part_of_what_git_reads(
    tracked: Repo, monkeypatch: pytest.MonkeyPatch, says: str, is_one_shot: bool
) -> None:
    install(tracked, monkeypatch, says)
    if is_one_shot:
        tracked.git("config", "--unset", "filter.theta.process")
    tracked.write(".gitattributes", tracked.read(".gitattributes").decode().strip() + " theta-update=negation\n")
    tracked.write("model.safetensors", safetensors_bytes(VALUES))
    tracked.git("commit", "-qam", "new")
    tracked.write("model.safetensors", safetensors_bytes(TURNED))
    assert "a line" in tracked.git("commit", "-qam", "turned").stderr
    assert b'"negation"' in tracked.git_bytes("cat-file", "blob", "HEAD:model.safetensors")
    tracked.git("checkout", "-q", "HEAD~1")
    assert "a line" in tracked.git("checkout", "-q", "-").stderr
    assert tracked.read("model.safetensors") == safetensors_bytes(TURNED)
    assert tracked.git("status", "--short").stdout == ""


def test_installed_plugin_is_asked_by_attribute_and_by_option(tracked: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tracked, monkeypatch)
    values, turned = VALUES, TURNED
    tracked.write("model.safetensors", safetensors_bytes(values))
    tracked.git("commit", "-qam", "new")
    tracked.write("model.safetensors", safetensors_bytes(turned))
    assert "negation" in tracked.theta("add", "model.safetensors", "--update-type", "negation").stdout
    tracked.git("commit", "-qm", "turned")
    kept = json.loads(tracked.git_bytes("cat-file", "blob", "HEAD:model.safetensors"))["groups"][0]["update"]
    assert kept["type"] == "negation"
    tracked.git("checkout", "-q", "HEAD~1")
    tracked.git("checkout", "-q", "-")
    assert (tracked.path / "model.safetensors").read_bytes() == safetensors_bytes(turned)
    assert tracked.git("status", "--short").stdout == ""
    found = tracked.theta("add", "model.safetensors", "--update-type", "nonsense", check=False)
    assert found.returncode == 2
    assert "known are: dense, delta" in found.stderr
