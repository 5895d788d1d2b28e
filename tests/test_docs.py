"""What the documents say holds."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file

from git_theta import errors
from git_theta.cli import boundary
from git_theta.git import strategy
from git_theta.merges import merge_methods
from git_theta.merges.parameters import Parameter
from git_theta.metadata_file import parse, serialize
from git_theta.tensors import BLOCKS
from tests.helpers import Repo
from tests.merges.test_reference_cases import CASES, DIFFERENT

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "docs/metadata.schema.json").read_text())


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_commands_page_is_what_the_commands_say() -> None:
    assert (ROOT / "docs/cli.md").read_text() == script("make_cli_docs").text(), "run scripts/make_cli_docs.py"


def test_page_of_the_manual_is_what_the_commands_say() -> None:
    made = script("make_man_page").page()
    assert (ROOT / "docs/man/man1/git-theta.1").read_text() == made, "run scripts/make_man_page.py"


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no manual on this machine")
def test_help_of_git_shows_the_page_of_the_manual(repo: Repo) -> None:
    env = {"MANPATH": str(ROOT / "docs/man"), "MANPAGER": "cat", "MANWIDTH": "80", "MANROFFOPT": "-c"}
    shown = repo.git("theta", "--help", env=env).stdout
    for text in ("git theta track PATTERN...", "git theta merge", "--update-data", "*.safetensors'", "SEE ALSO"):
        assert text in re.sub(".\\x08", "", shown)


def test_metadata_file_follows_its_schema(tracked: Repo) -> None:
    stored = tracked.git_bytes("cat-file", "blob", "HEAD:model.safetensors")
    jsonschema.validate(json.loads(stored), SCHEMA, cls=jsonschema.Draft202012Validator)
    assert serialize(parse(stored)) == stored


def test_example_of_a_metadata_file_adds_up_and_has_the_keys_of_a_real_one(repo: Repo) -> None:
    page = (ROOT / "docs/metadata.md").read_text()
    example = json.loads(page.partition("## An example")[2].split("```")[1])
    groups = {group["name"]: np.ones(group["shape"], group["dtype"]) for group in example["groups"]}
    repo.theta("track", "*.safetensors")
    save_file(groups, repo.path / "m.safetensors")
    repo.git("add", "m.safetensors")
    real = json.loads(repo.git_bytes("cat-file", "blob", ":m.safetensors"))
    assert (example["about"], example["size"]) == (real["about"], real["size"])
    assert [list(group) for group in example["groups"]] == [list(group) for group in real["groups"]]
    assert (list(example), list(example["skeleton"])) == (list(real), list(real["skeleton"]))
    assert example["skeleton"]["size"] == real["skeleton"]["size"]


@pytest.mark.parametrize(
    "change",
    [
        {"git-theta": 2},
        {"size": -1},
        {"extra": 1},
        {"skeleton": {"size": 0, "digest": "0" * 64}},
        {"groups": [{"name": "a"}]},
    ],
)
def test_schema_refuses_what_the_parser_refuses(tracked: Repo, change: dict[str, object]) -> None:
    stored = json.loads(tracked.git_bytes("cat-file", "blob", "HEAD:model.safetensors"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**stored, **change}, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_schema_knows_every_dtype() -> None:
    assert set(SCHEMA["properties"]["groups"]["items"]["properties"]["dtype"]["enum"]) == set(BLOCKS)


def test_every_exit_code_is_documented() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)}
    used = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    assert used | {0, boundary.BUG, boundary.INTERRUPTED, boundary.NOBODY_READS, strategy.MERGED} == listed


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub names them."""
    headings = re.findall("^#+ (.*)$", re.sub("```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text()):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name} links to {target}"
            assert not heading or heading in anchors(file), f"{page.name} links to {target}"


def shown(parameter: Parameter) -> str:
    """A parameter as docs/merging.md has it."""
    match parameter.default:
        case bool(flag):
            default = str(flag).lower()
        case float(number) | int(number):
            default = f"{number:g}"
        case word:
            default = "required" if parameter.required else str(word).lower()
    return f"`{parameter.name}`{'*' if parameter.per_input else ''} {default}"


def test_merging_page_has_every_method_with_its_parameters_and_defaults() -> None:
    text = (ROOT / "docs/merging.md").read_text()
    choice, computed, listed = (re.split("^## ", text, flags=re.MULTILINE)[part] for part in (1, 2, 3))
    for method in merge_methods().builtin_members():
        assert f"`{method.name}`" in choice
        assert re.search(rf"^\|[^|]*`{method.name}`", computed, re.MULTILINE)
        row = f"| `{method.name}` | {', '.join(map(shown, method.parameters))} |"
        assert not method.parameters or row in listed.splitlines(), row
        for parameter in method.parameters:
            assert all(f"`{word}`" in text for word in parameter.choices)


def test_merging_page_counts_the_cases_that_agree() -> None:
    assert f"{len(CASES) - len(DIFFERENT) + 1} of {len(CASES)} cases agree" in (ROOT / "docs/merging.md").read_text()
