"""The rules of the house, read from the source: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import git_theta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(git_theta.__file__).parent
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 450

BELOW = {
    "cli": {"front", "flows", "diffs", "checkpoints", "merges", "updates", "store", "git", "base"},
    "front": {"merges", "base"},
    "flows": {"diffs", "checkpoints", "merges", "updates", "store", "git", "base"},
    "updates": {"store", "git", "base"},
    "checkpoints": {"base"},
    "diffs": {"base"},
    "merges": {"base"},
    "store": {"git", "base"},
    "git": {"base"},
    "base": set[str](),
}
"""The floors of the house, and those that each may use besides itself. The modules beside the packages are the base;
git_theta itself is the front, which shows what is public."""

FRAMEWORKS = {"torch", "safetensors", "flax", "jax", "tensorflow", "transformers"}
SLOW = {"tensorstore", "git", "prompt_toolkit", *FRAMEWORKS}
RUNS_CODE = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("numpy.load", "os.system", "os.popen", "os.execv", "os.execvp", "subprocess.getoutput"),
}


@dataclass(frozen=True)
class Module:
    """A module of the package (or of a test of these rules)."""

    name: str
    source: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def floor(self) -> str:
        """Its package below git_theta, or "base", or "front"."""
        return floor(self.name)


def floor(name: str) -> str:
    parts = name.split(".")
    if parts == ["git_theta"]:
        return "front"
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else "base"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(file): Module(module_name(file), file.read_text()) for file in sorted(ROOT.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())


def imports(tree: ast.AST, known: frozenset[str] = frozenset(MODULES)) -> Iterator[str]:
    """The full name of every module that is imported anywhere, inside functions and for types as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if inner in known else module
        elif isinstance(node, ast.Call) and called(node, {}).endswith(("import_module", "__import__")):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def names(tree: ast.AST) -> dict[str, str]:
    """What each imported name means: `from os import environ as e` gives e = "os.environ"."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.asname and alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: meaning or name for name, meaning in found.items()}


def dotted(node: ast.AST, meanings: dict[str, str]) -> str:
    """An expression like `os.environ` as text, imported names replaced by what they mean."""
    match node:
        case ast.Name(id=name):
            return meanings.get(name, name)
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value, meanings)}.{name}"
        case _:
            return "?"


def called(node: ast.Call, meanings: dict[str, str]) -> str:
    return dotted(node.func, meanings)


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported; not those for types alone."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.If) and dotted(node.test, {}) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            waiting += node.body


# --- the rules, each a function that lists what breaks it -----------------------------------------------------------


def upward_imports(module: Module) -> list[str]:
    allowed = {*BELOW[module.floor], module.floor}
    ours = [name for name in imports(module.tree) if name.split(".")[0] == "git_theta" or name.startswith(".")]
    return [name for name in ours if floor(name) not in allowed or name.startswith(".")]


def imports_of(module: Module, packages: set[str]) -> list[str]:
    return [name for name in imports(module.tree) if name.split(".")[0] in packages]


def uses_of_the_environment(module: Module) -> list[str]:
    meanings = names(module.tree)
    forbidden = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
    found = [dotted(node, meanings) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute | ast.Name)]
    return [name for name in found if name in forbidden]


def foreign_code(module: Module) -> list[str]:
    meanings = names(module.tree)
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node, meanings)
        shell = [word for word in node.keywords if word.arg == "shell" and not is_false(word.value)]
        if name in RUNS_CODE or shell:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def imports_at_the_top(module: Module, packages: set[str]) -> list[str]:
    top = ast.Module([node for node in at_import(module.tree) if isinstance(node, ast.Import | ast.ImportFrom)], [])
    return [name for name in imports(top) if name.split(".")[0] in packages]


def actions_at_import(module: Module) -> list[str]:
    """Statements other than definitions: loops, conditions, calls for their effect, assignments to other objects."""
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = []
    for node in at_import(module.tree):
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Assign(targets=[ast.Name() | ast.Tuple()]) | ast.AnnAssign(target=ast.Name()):
                pass
            case _ if isinstance(node, definitions):
                pass
            case _:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def long_functions(module: Module) -> list[str]:
    functions = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > MAX_FUNCTION_LINES]


# --- the package obeys ----------------------------------------------------------------------------------------------


def test_the_whole_package_is_looked_at() -> None:
    assert {"git_theta", "git_theta.cli.main", "git_theta.store.objects", "git_theta.errors"} <= MODULES.keys()
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages == BELOW.keys() - {"base", "front"}


@every_module
def test_arrows_point_down_only(module: Module) -> None:
    assert upward_imports(module) == []


def test_no_module_needs_itself() -> None:
    graph = {
        name: {found for found in imports(module.tree) if found in MODULES} - {name} for name, module in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@every_module
def test_only_the_command_line_knows_click(module: Module) -> None:
    assert module.floor == "cli" or imports_of(module, {"click"}) == []


@every_module
def test_only_the_command_line_reads_the_environment(module: Module) -> None:
    assert module.floor == "cli" or uses_of_the_environment(module) == []


@every_module
def test_no_framework_is_imported(module: Module) -> None:
    assert imports_of(module, FRAMEWORKS) == []


@every_module
def test_nothing_runs_foreign_code_or_a_shell(module: Module) -> None:
    assert foreign_code(module) == []


@every_module
def test_what_is_slow_to_import_is_imported_when_it_is_needed(module: Module) -> None:
    assert imports_at_the_top(module, SLOW) == []


@every_module
def test_importing_only_defines(module: Module) -> None:
    assert actions_at_import(module) == []


@every_module
def test_functions_fit_on_a_screen(module: Module) -> None:
    assert long_functions(module) == []


@every_module
def test_modules_can_be_read_in_one_go(module: Module) -> None:
    lines = module.source.count("\n")
    assert lines <= MAX_MODULE_LINES


IMPORTING = """
import importlib, os, sys

first, *rest = sys.argv[1:]
importlib.import_module(first)
done = []

def watch(event, arguments):
    if event == "open":
        _, mode, flags = arguments
        if isinstance(mode, str) and set(mode) & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            done.append(f"{event} {arguments}")
    elif event.startswith(("subprocess.", "socket.", "shutil.", "tempfile.")) or event in {
        "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime",
        "os.chmod", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.putenv", "os.unsetenv", "os.chdir",
    }:
        done.append(f"{event} {arguments}")

sys.addaudithook(watch)
for name in rest:
    importlib.import_module(name)
os.write(1, "\\n".join([*done, *sorted(name for name in sys.modules if "." not in name)]).encode())
"""


def test_importing_everything_writes_nothing_and_stays_quick(tmp_path: Path) -> None:
    # What others do when they are imported is not ours, so they come first; warnings and bytecode stay out of it.
    others = ["click", "numpy", "msgpack", "blake3"]
    code = f"import {', '.join(others)}\n{IMPORTING}"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, *MODULES], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if " " in line] == []
    assert list(tmp_path.iterdir()) == []
    assert SLOW & set(done.stdout.splitlines()) == set()


# --- the rules can be broken ----------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Callable[[Module], list[str]], str, str]] = {
    "up": (upward_imports, "git_theta.store.objects", "from git_theta.flows import clean"),
    "up from the base": (upward_imports, "git_theta.layout", "import git_theta.git.command"),
    "up in a function": (upward_imports, "git_theta.git.hooks", "def f():\n    from git_theta.store import lfs"),
    "up for a type": (upward_imports, "git_theta.git.a", "if TYPE_CHECKING:\n    from git_theta.cli.main import cli"),
    "up by name": (upward_imports, "git_theta.git.a", "importlib.import_module('git_theta.cli.main')"),
    "to a neighbour": (upward_imports, "git_theta.updates.dense", "from git_theta import checkpoints"),
    "to the other neighbour": (upward_imports, "git_theta.checkpoints.scan", "from git_theta.updates import dense"),
    "from checkpoints to the store": (upward_imports, "git_theta.checkpoints.a", "import git_theta.store.objects"),
    "from merges to the store": (upward_imports, "git_theta.merges.a", "import git_theta.store.objects"),
    "from the base to the front": (upward_imports, "git_theta.layout", "from git_theta import merge_arrays"),
    "from checkpoints to git": (upward_imports, "git_theta.checkpoints.a", "from git_theta.git import command"),
    "by a relative path": (upward_imports, "git_theta.store.arrays", "from . import objects"),
    "environ": (uses_of_the_environment, "git_theta.a", "import os\nos.environ['A']"),
    "environ by another name": (uses_of_the_environment, "git_theta.a", "from os import environ as e\ne['A']"),
    "getenv": (uses_of_the_environment, "git_theta.a", "import os as o\no.getenv('A')"),
    "eval": (foreign_code, "git_theta.a", "eval('1')"),
    "exec": (foreign_code, "git_theta.a", "def f():\n    exec('1')"),
    "pickle": (foreign_code, "git_theta.a", "import pickle\npickle.load(file)"),
    "pickle by another name": (foreign_code, "git_theta.a", "from pickle import loads as read\nread(b'')"),
    "numpy": (foreign_code, "git_theta.a", "import numpy as np\nnp.load('file')"),
    "system": (foreign_code, "git_theta.a", "import os\nos.system('ls')"),
    "shell": (foreign_code, "git_theta.a", "import subprocess\nsubprocess.run('ls', shell=True)"),
    "shell by a variable": (foreign_code, "git_theta.a", "subprocess.run('ls', shell=yes)"),
    "call at import": (actions_at_import, "git_theta.a", "print('hello')"),
    "call in a class": (actions_at_import, "git_theta.a", "class A:\n    print('hello')"),
    "loop at import": (actions_at_import, "git_theta.a", "for a in b:\n    pass"),
    "file at import": (actions_at_import, "git_theta.a", "with open('file', 'w') as file:\n    pass"),
    "setting at import": (actions_at_import, "git_theta.a", "import os\nos.environ['A'] = '1'"),
    "long": (long_functions, "git_theta.a", "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES),
    "long method": (long_functions, "git_theta.a", "class A:\n  def f():\n" + "    pass\n" * MAX_FUNCTION_LINES),
    "slow": (lambda module: imports_at_the_top(module, SLOW), "git_theta.a", "import tensorstore as ts"),
    "slow in a class": (lambda module: imports_at_the_top(module, SLOW), "git_theta.a", "class A:\n  import git.cmd"),
    "framework": (lambda module: imports_of(module, FRAMEWORKS), "git_theta.a", "def f():\n    import torch.nn"),
}


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_found(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    assert rule(Module(name, source))


FINE: dict[str, tuple[Callable[[Module], list[str]], str, str]] = {
    "down": (upward_imports, "git_theta.cli.a", "from git_theta.flows import clean\nfrom git_theta import tensors"),
    "aside": (upward_imports, "git_theta.store.a", "from git_theta.store.objects import ObjectStore"),
    "slow in a function": (
        lambda module: imports_at_the_top(module, SLOW),
        "git_theta.a",
        "def f():\n    import tensorstore",
    ),
    "slow for a type": (
        lambda module: imports_at_the_top(module, SLOW),
        "git_theta.a",
        "if TYPE_CHECKING:\n    import tensorstore",
    ),
    "our own module of that name": (
        lambda module: imports_of(module, FRAMEWORKS),
        "git_theta.a",
        "from git_theta.checkpoints import safetensors",
    ),
    "no shell": (foreign_code, "git_theta.a", "subprocess.run(['ls'], shell=False)\nre.compile('a')"),
    "definitions": (
        actions_at_import,
        "git_theta.a",
        "'''Doc.'''\nA: Final = {}\nB, C = 1, 2\nclass D:\n    a: int = 1",
    ),
}


@pytest.mark.parametrize(("rule", "name", "source"), FINE.values(), ids=FINE.keys())
def test_what_is_allowed_is_not_reported(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    assert rule(Module(name, source)) == []
