"""The real git-theta filter-process as a child, spoken to as git speaks to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest

from tests.helpers import TIMEOUT, Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE = "model.safetensors"
METADATA = b'{"git-theta":1,'
FRAMEWORKS = ("torch", "flax", "jax", "tensorflow")


def packet(data: bytes) -> bytes:
    return b"%04x%s" % (len(data) + 4, data)


def texts(*lines: str) -> bytes:
    return b"".join(packet(f"{line}\n".encode(errors="surrogateescape")) for line in lines) + b"0000"


@dataclass(frozen=True)
class Answer:
    """What the filter says to one request: a status, content, and a status again (empty if it stays)."""

    status: list[bytes]
    content: bytes = b""
    last: tuple[bytes, ...] = ()

    @property
    def succeeded(self) -> bool:
        return self.status == [b"status=success\n"] and self.last == ()


class Filter:
    """A running filter. It is killed if it does not answer in time, so that nothing hangs."""

    def __init__(
        self,
        repo: Repo,
        *options: str,
        command: Sequence[str] = ("git-theta", "filter-process"),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._errors = (repo.path.parent / "filter-stderr").open("w+b")
        self._process = subprocess.Popen(
            ["env", *(f"{name}={value}" for name, value in (env or {}).items()), *command, *options],
            cwd=repo.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._guard = threading.Timer(TIMEOUT, self._process.kill)
        self._guard.daemon = True
        self._guard.start()

    def say(self, data: bytes) -> None:
        self._in.write(data)
        self._in.flush()

    def hear(self) -> list[bytes]:
        """The packets up to the next flush."""
        heard = []
        while True:
            head = self._out.read(4)
            assert len(head) == 4, f"the filter ended: {self.complaints()}"
            if head == b"0000":
                return heard
            heard.append(self._out.read(int(head, 16) - 4))

    def greet(self) -> list[bytes]:
        self.say(texts("git-filter-client", "version=2"))
        heard = self.hear()
        self.say(texts("capability=clean", "capability=smudge", "capability=delay"))
        return heard + self.hear()

    def ask(self, command: str, path: str, content: bytes, *, may_wait: bool = False) -> Answer:
        pieces = [content[start : start + 65516] for start in range(0, len(content), 65516)]
        head = texts(f"command={command}", f"pathname={path}", *(["can-delay=1"] if may_wait else []))
        self.say(head + b"".join(map(packet, pieces)) + b"0000")
        status = self.hear()
        if status != [b"status=success\n"]:
            return Answer(status)
        return Answer(status, b"".join(self.hear()), tuple(self.hear()))

    def available(self) -> list[bytes]:
        """The paths that may be asked for again."""
        self.say(texts("command=list_available_blobs"))
        paths = self.hear()
        assert self.hear() == [b"status=success\n"]
        return [path.removeprefix(b"pathname=").removesuffix(b"\n") for path in paths]

    def complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()

    def end(self, *, in_the_middle: bool = False) -> tuple[int, str]:
        """Close the conversation; returns the exit status and what was said on standard error."""
        try:
            self._in.close()
            rest = self._out.read()
            assert in_the_middle or rest == b""
            status = self._process.wait(TIMEOUT)
            return status, self.complaints()
        finally:
            self._guard.cancel()
            self._out.close()
            self._errors.close()


def stored(repo: Repo) -> bytes:
    return repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")


def test_handshake_offers_clean_smudge_and_delay(tracked: Repo) -> None:
    child = Filter(tracked)
    assert child.greet() == [
        b"git-filter-server\n",
        b"version=2\n",
        b"capability=clean\n",
        b"capability=smudge\n",
        b"capability=delay\n",
    ]
    assert child.end() == (0, "")


def test_git_that_closes_at_once_is_no_failure(tracked: Repo) -> None:
    assert Filter(tracked).end() == (0, "")


@pytest.mark.parametrize("command", ["clean", "smudge"])
def test_git_that_closes_in_the_middle_of_content_is_no_bug(tracked: Repo, command: str) -> None:
    before = tracked.objects().keys()
    child = Filter(tracked)
    child.greet()
    child.say(texts(f"command={command}", f"pathname={FILE}") + packet(b"half"))
    assert child.end(in_the_middle=True) == (0, "")
    assert tracked.objects().keys() == before


@pytest.mark.parametrize("greeting", [b"hello?\n", texts("git-filter-client", "version=1")])
def test_somebody_who_is_not_git_gets_one_line(tracked: Repo, greeting: bytes) -> None:
    child = Filter(tracked)
    child.say(greeting)
    status, said = child.end()
    assert status == 1
    assert said.startswith("git-theta: ")
    assert said.count("\n") == 1


def test_several_files_in_one_process(tracked: Repo) -> None:
    content, changed = tracked.read(FILE), safetensors_bytes(model(3))
    child = Filter(tracked)
    child.greet()
    assert child.ask("clean", FILE, content) == Answer([b"status=success\n"], stored(tracked))
    assert child.ask("smudge", FILE, stored(tracked)) == Answer([b"status=success\n"], content)
    new = child.ask("clean", "sub/new.safetensors", changed)
    assert new.succeeded
    assert new.content.startswith(METADATA)
    assert child.ask("smudge", "sub/new.safetensors", new.content).content == changed
    assert child.ask("clean", "sub/new.safetensors", changed).content == new.content
    assert child.end() == (0, "")


def test_worktree_file_with_other_content_does_not_matter(tracked: Repo) -> None:
    """What git pipes is what counts."""
    content = tracked.read(FILE)
    for other in (content[:-1] + b"\0", content[:-5000], content + b"more", b""):
        tracked.write(FILE, other)
        child = Filter(tracked)
        child.greet()
        assert child.ask("clean", FILE, content).content == stored(tracked)
        assert child.end() == (0, "")


def test_content_that_needs_no_filter_passes_as_it_is(tracked: Repo) -> None:
    large = np.random.default_rng(0).bytes(20_000_000)
    child = Filter(tracked)
    child.greet()
    assert child.ask("clean", FILE, stored(tracked)) == Answer([b"status=success\n"], stored(tracked))
    assert child.ask("clean", FILE, b"") == Answer([b"status=success\n"], b"")
    assert child.ask("smudge", FILE, b"") == Answer([b"status=success\n"], b"")
    assert child.ask("smudge", FILE, b"raw") == Answer([b"status=success\n"], b"raw")
    assert child.ask("smudge", FILE, large).content == large
    assert child.end() == (0, "")


def test_failing_file_is_told_and_the_next_one_is_served(tracked: Repo) -> None:
    group = json.loads(stored(tracked))["groups"][0]
    good = tracked.read(FILE)
    small = safetensors_bytes({"a": np.arange(5, dtype=np.float32)})
    child = Filter(tracked)
    child.greet()
    kept = child.ask("clean", "small.safetensors", small).content
    victim = tracked.objects()[group["update"]["oid"]]
    victim.rename(tracked.path / "hidden")
    missing = child.ask("smudge", "a\x1b\nb.safetensors", stored(tracked))
    assert missing.status + list(missing.last) in ([b"status=success\n", b"status=error\n"], [b"status=error\n"])
    broken = child.ask("smudge", "broken.safetensors", METADATA + b"nonsense")
    assert not broken.succeeded
    newer = child.ask("clean", "newer.safetensors", b'{"git-theta":99,')
    assert not newer.succeeded
    assert child.ask("smudge", "small.safetensors", kept) == Answer([b"status=success\n"], small)
    (tracked.path / "hidden").rename(victim)
    assert child.ask("smudge", FILE, stored(tracked)).content == good
    status, said = child.end()
    assert status == 0
    lines = said.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("git-theta: ") for line in lines)
    assert lines[0].startswith(f"git-theta: a\\x1b\\nb.safetensors: group '{group['name']}': object {victim.name} ")
    assert lines[1].startswith("git-theta: broken.safetensors: ")
    assert lines[2].startswith("git-theta: newer.safetensors: ")
    assert "newer git-theta" in lines[2]


def test_values_that_are_damaged_are_never_a_success(tracked: Repo) -> None:
    victim = max(tracked.objects().values(), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    child = Filter(tracked)
    child.greet()
    assert child.ask("smudge", FILE, stored(tracked)).last == (b"status=error\n",)
    status, said = child.end()
    assert status == 0
    assert victim.name in said
    assert "git theta fetch --verify" in said


def test_unknown_command_is_refused_and_the_next_one_is_served(tracked: Repo) -> None:
    child = Filter(tracked)
    child.greet()
    assert not child.ask("explode", FILE, b"content").succeeded
    assert child.ask("smudge", FILE, b"raw").content == b"raw"
    status, said = child.end()
    assert status == 0
    assert "'explode'" in said
    assert said.count("\n") == 1


def said_of_one_that_fails(repo: Repo, failing: str) -> str:
    """What the filter says, in one line, when a statement runs as it cleans a file, and serves the next one."""
    code = (
        "import sys, git_theta.cli.filtering as verb; from git_theta.cli.main import main\n"
        "real = verb.cleaned\n"
        "def cleaned(content, path, workspace):\n"
        f"    if path == 'odd': {failing}\n"
        "    return real(content, path, workspace)\n"
        "verb.cleaned = cleaned; sys.argv[1:] = ['filter-process']; main()"
    )
    child = Filter(repo, command=[sys.executable, "-c", code])
    child.greet()
    assert not child.ask("clean", "odd", repo.read(FILE)).succeeded
    assert child.ask("clean", FILE, repo.read(FILE)).content == stored(repo)
    status, said = child.end()
    assert status == 0
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("error", "words"),
    [("MemoryError", "there is not enough memory"), ("OSError(5, 'I/O error')", "input or output: I/O error")],
)
def test_file_that_the_machine_fails_is_named_and_the_next_one_is_served(tracked: Repo, error: str, words: str) -> None:
    said = said_of_one_that_fails(tracked, f"raise {error}")
    assert said.startswith(f"git-theta: odd: {words}")


def test_bug_with_one_file_is_logged_and_the_next_one_is_served(tracked: Repo) -> None:
    said = said_of_one_that_fails(tracked, "path = None")
    assert said.startswith("git-theta: a bug in git-theta: TypeError: ")
    assert b"Traceback" in tracked.read(".git/theta/log")


@pytest.mark.parametrize(
    ("options", "env", "skips"),
    [
        (["--skip"], {}, True),
        ([], {"GIT_THETA_SKIP_SMUDGE": "1"}, True),
        ([], {"GIT_THETA_SKIP_SMUDGE": "0"}, False),
        ([], {"GIT_THETA_SKIP_SMUDGE": "False"}, False),
    ],
)
def test_skip_leaves_metadata_files(tracked: Repo, options: list[str], env: dict[str, str], skips: bool) -> None:
    content = tracked.read(FILE)
    child = Filter(tracked, *options, env=env)
    child.greet()
    smudged = child.ask("smudge", FILE, stored(tracked)).content
    assert smudged == (stored(tracked) if skips else content)
    assert child.ask("clean", FILE, content).content == stored(tracked)
    assert child.end() == (0, "")


def test_setting_that_makes_no_sense_fails_each_file_with_one_line(tracked: Repo) -> None:
    child = Filter(tracked, env={"GIT_THETA_SKIP_SMUDGE": "perhaps"})
    child.greet()
    assert not child.ask("smudge", FILE, stored(tracked)).succeeded
    assert not child.ask("clean", FILE, tracked.read(FILE)).succeeded
    status, said = child.end()
    assert status == 0
    assert said == 2 * (f"git-theta: {FILE}: GIT_THETA_SKIP_SMUDGE is 'perhaps', which is neither true nor false\n")


def test_outside_a_repository_it_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    child = Filter(Repo(tmp_path / "outside"))
    child.say(texts("git-filter-client", "version=2") + texts("capability=clean"))
    assert len(child.hear() + child.hear()) == 3
    assert child.end() == (1, "git-theta: not a git repository (or any of the parent directories): .git\n")


def test_gits_that_are_started_are_as_many_for_twenty_files_as_for_two(tracked: Repo, tmp_path: Path) -> None:
    counts = []
    for number in (2, 20):
        for file in range(number):
            tracked.write(f"{number}-{file}.safetensors", safetensors_bytes(model(100 * number + file)))
        trace = tmp_path / f"trace-{number}"
        tracked.git("add", "-A", env={"GIT_TRACE2_EVENT": str(trace)})
        counts.append(trace.read_text().count('"event":"start"'))
    assert counts[0] == counts[1]


class TestWaiting:
    """Git may come back for files, so that the objects of all of them are brought at once."""

    LATER = Answer([b"status=delayed\n"])

    @pytest.fixture
    def remote(self, tracked: Repo, tmp_path: Path) -> Path:
        """Where all objects are, and there alone."""
        place = tmp_path / "remote.git"
        tracked.git("init", "-q", "--bare", str(place))
        tracked.git("remote", "add", "origin", str(place))
        (tracked.path / ".git/theta/objects").rename(place / "theta-objects")
        return place

    @staticmethod
    def arrive(remote: Path) -> None:
        (remote / "theta").mkdir()
        (remote / "theta-objects").rename(remote / "theta/objects")

    def test_file_whose_objects_are_missing_waits_for_them(self, tracked: Repo, remote: Path) -> None:
        child = Filter(tracked)
        child.greet()
        assert child.ask("smudge", FILE, stored(tracked), may_wait=True) == self.LATER
        assert child.ask("smudge", "other.safetensors", stored(tracked), may_wait=True) == self.LATER
        assert child.ask("smudge", "raw.safetensors", b"raw", may_wait=True) == Answer([b"status=success\n"], b"raw")
        self.arrive(remote)
        assert sorted(child.available()) == [FILE.encode(), b"other.safetensors"]
        assert child.ask("smudge", "other.safetensors", b"") == Answer([b"status=success\n"], tracked.read(FILE))
        assert child.ask("smudge", FILE, b"") == Answer([b"status=success\n"], tracked.read(FILE))
        assert child.available() == []
        assert child.end() == (0, "")

    def test_file_whose_objects_are_here_does_not_wait(self, tracked: Repo) -> None:
        child = Filter(tracked)
        child.greet()
        assert child.ask("smudge", FILE, stored(tracked), may_wait=True).content == tracked.read(FILE)
        assert child.available() == []
        assert child.end() == (0, "")

    @pytest.mark.usefixtures("remote")
    @pytest.mark.parametrize("options", [[], ["--skip"]])
    def test_file_that_cannot_or_need_not_wait_is_answered(self, tracked: Repo, options: list[str]) -> None:
        child = Filter(tracked, *options)
        child.greet()
        answer = child.ask("smudge", FILE, stored(tracked), may_wait=bool(options))
        assert answer.succeeded == bool(options)
        assert answer != self.LATER
        assert child.available() == []
        child.end()

    @pytest.mark.usefixtures("remote")
    def test_objects_that_cannot_be_had_fail_their_file_alone(self, tracked: Repo) -> None:
        child = Filter(tracked)
        child.greet()
        assert child.ask("smudge", FILE, stored(tracked), may_wait=True) == self.LATER
        assert child.available() == [FILE.encode()]
        assert not child.ask("smudge", FILE, b"").succeeded
        assert child.ask("smudge", "raw.safetensors", b"raw").content == b"raw"
        assert child.available() == []
        status, said = child.end()
        assert status == 0
        assert said.startswith(f"git-theta: {FILE}: group ")
        assert said.count("\n") == 1

    def test_file_waits_again_for_the_next_commit_of_a_rebase(self, tracked: Repo, remote: Path) -> None:
        child = Filter(tracked)
        child.greet()
        for _ in range(2):
            assert child.ask("smudge", FILE, stored(tracked), may_wait=True) == self.LATER
            assert child.available() == [FILE.encode()]
            assert not child.ask("smudge", FILE, b"").succeeded
        assert child.ask("smudge", FILE, stored(tracked), may_wait=True) == self.LATER
        self.arrive(remote)
        assert child.available() == [FILE.encode()]
        assert child.ask("smudge", FILE, b"").content == tracked.read(FILE)
        child.end()


class TestImports:
    @pytest.fixture
    def frameworks(self, tmp_path: Path) -> Path:
        """A folder with a stand-in for each framework, so that importing it would work and be seen."""
        for name in FRAMEWORKS:
            (tmp_path / "frameworks").mkdir(exist_ok=True)
            (tmp_path / "frameworks" / f"{name}.py").touch()
        return tmp_path / "frameworks"

    @staticmethod
    def modules(repo: Repo, frameworks: Path, *requests: tuple[str, str, bytes]) -> set[str]:
        """The modules that are loaded at the end of a filter that has answered the requests."""
        code = (
            "import json, os, sys; from git_theta.cli.main import main\n"
            "os._exit = lambda status: print(json.dumps(list(sys.modules)), file=sys.stderr) or sys.exit(status)\n"
            "sys.argv[1:] = ['filter-process']; main()"
        )
        path = os.pathsep.join([str(frameworks), *filter(None, [os.environ.get("PYTHONPATH")])])
        child = Filter(repo, command=[sys.executable, "-c", code], env={"PYTHONPATH": path})
        child.greet()
        for request in requests:
            assert child.ask(*request).succeeded
        status, said = child.end()
        assert status == 0
        return set(json.loads(said))

    def test_new_data_needs_no_framework(self, tracked: Repo, frameworks: Path) -> None:
        found = self.modules(tracked, frameworks, ("clean", "new.safetensors", safetensors_bytes(model(4))))
        assert found.isdisjoint({*FRAMEWORKS, "safetensors", "tensorstore"})

    def test_checkout_needs_no_framework(self, tracked: Repo, frameworks: Path) -> None:
        found = self.modules(tracked, frameworks, ("smudge", FILE, stored(tracked)))
        assert found.isdisjoint({*FRAMEWORKS, "safetensors", "tensorstore", "git", "click"})

    def test_unchanged_data_needs_neither(self, tracked: Repo, frameworks: Path) -> None:
        shutil.rmtree(tracked.path / ".git/theta/cache")
        found = self.modules(tracked, frameworks, ("clean", FILE, tracked.read(FILE)), ("smudge", "raw", b"raw"))
        assert "git_theta.flows.clean" in found
        assert found.isdisjoint({*FRAMEWORKS, "safetensors", "tensorstore"})

    def test_nothing_asked_needs_nothing(self, tracked: Repo, frameworks: Path) -> None:
        found = self.modules(tracked, frameworks)
        assert found.isdisjoint({*FRAMEWORKS, "safetensors", "tensorstore", "git", "numpy", "click"})


def test_metadata_file_of_a_newer_version_is_cleaned_only_if_git_has_it_already(tracked: Repo) -> None:
    data = b'{"git-theta":99,'
    blob = tracked.git("hash-object", "-w", "--stdin", "--no-filters", stdin=data).stdout.strip()
    tracked.git("update-index", "--add", "--cacheinfo", f"100644,{blob},newer.safetensors")
    tracked.write("newer.safetensors", data)
    assert tracked.git("status", "--short").stdout == "A  newer.safetensors\n"
    tracked.git("commit", "-qam", "of a newer git-theta")
    os.utime(tracked.path / "newer.safetensors")
    assert tracked.status() == ""
    tracked.write("newer.safetensors", data + b"\n")
    done = tracked.git("add", "newer.safetensors", check=False)
    assert done.returncode == 128
    assert "git-theta: newer.safetensors: the metadata file was written by a newer git-theta" in done.stderr
