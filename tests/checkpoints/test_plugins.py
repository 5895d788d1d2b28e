"""Plug-ins that break their contract in every way they can: always an error of one line that names the plug-in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.checkpoints import Checkpoint, Format, Values, opaque, plugins
from git_theta.checkpoints.scan import scan
from git_theta.errors import ChangedWhileReadingError, NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.registry import Family
from git_theta.sources import BytesSource, Source
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DATA = b"content"


class Spans:
    """A plug-in whose scan does what the test says."""

    def __init__(self, result: Callable[[], Any], extensions: Any = (".mine",)) -> None:
        self.name = "mine"
        self.extensions = extensions
        self.result = result
        self.asked = 0

    def scan(self, source: Source) -> Layout:  # noqa: ARG002
        self.asked += 1
        found: Layout = self.result()
        return found

    def values(self, source: Source) -> Mapping[str, str]:  # noqa: ARG002
        return {}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:  # noqa: ARG002
        return iter(())


class LoadSave(Checkpoint):
    """A plug-in that is never called here."""

    extensions = (".byvalue",)

    @classmethod
    def load(cls, file: Any) -> Any:
        raise AssertionError(file)

    @classmethod
    def from_framework(cls, native: Any) -> LoadSave:
        raise AssertionError(native)

    def to_framework(self) -> Any:
        raise AssertionError

    def save(self, file: Any) -> None:
        raise AssertionError(file)


class Plugged(Family[Format]):
    """Formats with plug-ins that no package announces."""

    def names(self) -> tuple[str, ...]:
        return (*self.builtins, *self.loaded)


def family(**members: Any) -> Family[Format]:
    return Plugged("checkpoint format", "no.such.group", {}, dict(members))


def fail(error: BaseException) -> Callable[[], Any]:
    def result() -> Any:
        raise error

    return result


def test_a_good_plugin_is_believed() -> None:
    layout = Layout("mine", len(DATA), (Span("a", "uint8", (3,), 1),))
    found = scan(BytesSource(DATA), "x", family(mine=Spans(lambda: layout)))
    assert (found.layout, found.why_opaque, found.by_value) == (layout, None, None)


def test_its_layout_gets_the_name_that_the_package_announced() -> None:
    layout = Layout("torch", len(DATA), ())
    assert scan(BytesSource(DATA), "x", family(mine=Spans(lambda: layout))).layout.format == "mine"


def test_file_with_more_beside_its_groups_than_a_checkout_has_in_memory_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = Layout("mine", len(DATA), (Span("a", "uint8", (3,), 1),))
    monkeypatch.setattr(plugins, "MAX_SKELETON", len(DATA) - 3)
    assert scan(BytesSource(DATA), "x", family(mine=Spans(lambda: layout))).why_opaque is None
    monkeypatch.setattr(plugins, "MAX_SKELETON", len(DATA) - 4)
    found = scan(BytesSource(DATA), "x.mine", family(mine=Spans(lambda: layout)))
    assert found.why_opaque == f"not mine: it has {len(DATA) - 3} bytes beside its groups, more than {len(DATA) - 4}"


BROKEN: dict[str, Callable[[], Any]] = {
    "raises": fail(RuntimeError("one\ntwo")),
    "exits": fail(SystemExit(3)),
    "runs out of memory": fail(MemoryError()),
    "recurses": fail(RecursionError()),
    "raises a plug-in error": fail(PluginError("wrong")),
    "returns nothing": lambda: None,
    "returns a dict": lambda: {"a": np.ones(2)},
    "returns another size": lambda: Layout("mine", 3, ()),
    "returns an unknown dtype": lambda: Layout("mine", 7, (Span("a", "float1", (3,), 1),)),
    "returns an overlap": lambda: Layout("mine", 7, (Span("a", "uint8", (3,), 0), Span("b", "uint8", (3,), 1))),
}


@pytest.mark.parametrize("result", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("wanted", [None, "mine"])
def test_what_breaks_the_contract_is_one_line(result: Callable[[], Any], wanted: str | None) -> None:
    with pytest.raises(PluginError) as caught:
        scan(BytesSource(DATA), "x.mine", family(mine=Spans(result)), wanted)
    assert "'mine'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_interruption_and_a_file_that_changes_are_no_fault_of_the_plugin() -> None:
    for error in (KeyboardInterrupt(), ChangedWhileReadingError("it changed")):
        with pytest.raises(type(error)):
            scan(BytesSource(DATA), "x", family(mine=Spans(fail(error))))


def test_what_a_plugin_prints_does_not_reach_git(capsys: pytest.CaptureFixture[str]) -> None:
    def result() -> Layout:
        sys.stdout.write("hello")
        return Layout("mine", len(DATA), ())

    scan(BytesSource(DATA), "x", family(mine=Spans(result)))
    assert capsys.readouterr() == ("", "hello")


def test_what_no_plugin_claims_is_kept_whole_and_the_likeliest_says_why() -> None:
    members = {
        "first": Spans(fail(NotThisFormatError("a reason"))),
        "second": Spans(fail(NotThisFormatError("another reason")), (".second",)),
    }
    found = scan(BytesSource(DATA), "x.second", family(**members))
    assert found.layout == opaque.layout(len(DATA))
    assert found.why_opaque == "not second: another reason"


@pytest.mark.parametrize("extensions", [".mine", [".mine"], (1,), ("",), None])
def test_extensions_that_are_none_are_an_error(extensions: Any) -> None:
    with pytest.raises(PluginError, match="'mine' are not a tuple of strings"):
        scan(BytesSource(DATA), "x", family(mine=Spans(lambda: None, extensions)))


def test_plugins_are_not_even_imported_when_a_builtin_claims_the_file() -> None:
    class Unasked(Plugged):
        def names(self) -> tuple[str, ...]:
            raise AssertionError

    known = Unasked("f", "g", {"safetensors": "git_theta.checkpoints.safetensors:Safetensors"})
    data = safetensors_bytes({"a": np.ones(3, np.float32)})
    assert scan(BytesSource(data), "x.mine", known).layout.format == "safetensors"


def test_a_plugin_that_cannot_be_imported_does_not_keep_a_file_out() -> None:
    class Missing(Plugged):
        def get(self, name: str) -> Format:
            raise PluginError(f"{name} cannot be loaded")

    found = scan(BytesSource(DATA), "x", Missing("f", "g", {}, {"mine": Spans(lambda: None)}))
    assert found.why_opaque is not None
    assert found.why_opaque.endswith("claims it, and a plug-in could not be asked: mine cannot be loaded")


class TestLoadSave:
    def test_it_is_chosen_by_the_ending(self) -> None:
        found = scan(BytesSource(DATA), "x.byvalue", family(kept=LoadSave()))
        assert (found.layout, found.why_opaque, found.by_value) == (opaque.layout(len(DATA)), None, "kept")
        assert found.is_whole

    def test_it_is_never_tried_on_other_files(self) -> None:
        found = scan(BytesSource(DATA), "x.other", family(kept=LoadSave()))
        assert found.by_value is None
        assert found.why_opaque is not None

    def test_the_attribute_chooses_it_whatever_the_ending(self) -> None:
        assert scan(BytesSource(DATA), "x", family(kept=LoadSave()), "kept").by_value == "kept"

    def test_formats_that_find_spans_are_asked_before(self) -> None:
        spans = Spans(lambda: Layout("mine", len(DATA), ()))
        found = scan(BytesSource(DATA), "x.byvalue", family(kept=LoadSave(), mine=spans))
        assert found.layout.format == "mine"

    @pytest.mark.parametrize("name", ["Upper", "with space", "a" * 65, "é"])
    def test_a_name_that_no_metadata_file_can_have_is_an_error(self, name: str) -> None:
        with pytest.raises(PluginError, match="cannot be the name of a plug-in"):
            scan(BytesSource(DATA), "x", family(**{name: LoadSave()}), name)
        with pytest.raises(PluginError, match="cannot be the name of a plug-in"):
            scan(BytesSource(DATA), "x", family(**{name: Spans(lambda: None)}))

    def test_only_what_is_a_checkpoint_is_kept_by_value(self) -> None:
        assert plugins.by_value(LoadSave()) is LoadSave
        assert plugins.by_value(Spans(lambda: None)) is None
