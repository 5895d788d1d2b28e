"""Make the charting library of the HTML report, its licences, and what checks pages in tests, from pinned packages.

    python scripts/make_report_library.py           # writes the files; needs npm
    python scripts/make_report_library.py --check   # writes nothing; fails if they are not what it would write

`scripts/report_library/` pins the packages with their digests, and says which parts of the library go in.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "report_library"
ROOT = Path(__file__).parents[1]
LIBRARY = "git_theta/diffs/report_data/echarts.min.js"
LICENCES = "git_theta/diffs/report_data/echarts.licences.txt"
CHECKER = "tests/data/axe/axe.min.js"
PACKAGES = ("echarts", "zrender", "tslib")
"""The packages that the library is made of."""


def build(folder: Path) -> dict[str, str]:
    """The files by path, made in a folder of their own."""
    for name in ("package.json", "package-lock.json", ".npmrc", "library.js"):
        shutil.copy(SOURCE / name, folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, stdout=2)
    modules = folder / "node_modules"
    options = ["--bundle", "--minify", "--format=iife", "--global-name=echarts", "--target=es2020", "--charset=ascii"]
    subprocess.run(
        [modules / ".bin" / "esbuild", "library.js", *options, "--legal-comments=none", "--outfile=echarts.js"],
        cwd=folder,
        check=True,
    )
    return {
        LIBRARY: _banner(modules) + (folder / "echarts.js").read_text(),
        LICENCES: _licences(modules),
        CHECKER: (modules / "axe-core" / "axe.min.js").read_text(),
    }


def _banner(modules: Path) -> str:
    """The notices that go wherever the script goes: into every report."""
    names = " and ".join(f"{package} {_version(modules, package)}" for package in PACKAGES[:2])
    notice = (modules / "echarts" / "NOTICE").read_text().strip()
    renderer = (modules / "zrender" / "LICENSE").read_text().strip()
    text = (
        f"Parts of {names}.\n\n{notice}\n\nECharts is under the Apache License, Version 2.0: "
        f"https://www.apache.org/licenses/LICENSE-2.0\nzrender is under this one:\n\n{renderer}"
    )
    return f"/*!\n{text}\n*/\n".replace("\n\n", "\n")


def _licences(modules: Path) -> str:
    """All licences in full."""
    parts = []
    for package in PACKAGES:
        files = [modules / package / name for name in ("NOTICE", "LICENSE", "LICENSE.txt", "licenses/LICENSE-d3")]
        texts = "\n\n".join(file.read_text().strip() for file in files if file.is_file())
        parts.append(f"{package} {_version(modules, package)}\n{'=' * 40}\n\n{texts}\n")
    return f"The licences of what is in {Path(LIBRARY).name}.\n\n" + "\n\n".join(parts)


def _version(modules: Path, package: str) -> str:
    return str(json.loads((modules / package / "package.json").read_text())["version"])


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    with tempfile.TemporaryDirectory() as folder:
        made = build(Path(folder))
    if arguments == ["--check"]:
        different = [name for name, text in made.items() if (ROOT / name).read_text() != text]
        print(f"{', '.join(different)}: not what this makes" if different else "as checked in")
        return 1 if different else 0
    for name, text in made.items():
        (ROOT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
