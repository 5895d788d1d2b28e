"""A repository without commits, in which checkpoints are cleaned, merged and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from git_theta.checkpoints import formats
from git_theta.flows.clean import Cleaner
from git_theta.flows.merge import Merger, Outcome
from git_theta.flows.merging.plan import Versions
from git_theta.flows.merging.values import typed
from git_theta.flows.smudge import Smudger
from git_theta.git.repository import Repository
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Conflict, Decision
from git_theta.metadata_file import parse, serialize
from git_theta.settings import Settings
from git_theta.store.arrays import Arrays
from git_theta.store.cache import MetadataCache
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.reading import Reader
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from git_theta.checkpoints import Format
    from git_theta.merges import MergeMethod
    from git_theta.metadata import Entry, Metadata, ObjectRef
    from git_theta.registry import Family

    Array = npt.NDArray[Any]

PATH = "model.safetensors"


@dataclass
class World:
    """See above.

    Attributes:
        asked: the conflicts that the last merge asked about.
        fetched: the objects that merges tried to fetch, each time.
    """

    repo: Repo
    path: str = PATH
    formats: Family[Format] = field(default_factory=formats)
    methods: Family[MergeMethod] = field(default_factory=merge_methods)
    limits: Limits = field(default_factory=Limits)
    asked: Sequence[Conflict] = ()
    fetched: list[list[ObjectRef]] = field(default_factory=list)
    fetch: Callable[[Iterable[ObjectRef]], None] = lambda _: None

    def __post_init__(self) -> None:
        theta = self.repo.path / ".git" / "theta"
        self.store, self.cache = ObjectStore(theta), MetadataCache(theta / "cache")

    @property
    def cleaner(self) -> Cleaner:
        warnings: list[str] = []
        repository = Repository.discover(self.repo.path)
        settings = Settings(max_chain=self.limits.length)
        return Cleaner(repository, self.repo.path, self.store, self.cache, self.formats, settings, warnings.append)

    @property
    def merger(self) -> Merger:
        def fetch(refs: Iterable[ObjectRef]) -> None:
            self.fetched.append(list(refs))
            self.fetch(self.fetched[-1])

        return Merger(self.store, self.cache, update_types(), fetch, self.formats, self.methods, self.limits)

    def clean(self, data: bytes) -> Metadata:
        """What stands for a checkpoint."""
        return parse(self.cleaner.clean(iter([data]), self.path))

    def model(self, metadata: dict[str, str] | None = None, **arrays: Array) -> Metadata:
        """A safetensors file of these groups."""
        return self.clean(safetensors_bytes(arrays, metadata))

    def smudge(self, metadata: Metadata) -> bytes:
        """The checkpoint; cleaning it must give the same metadata file again, as git requires after a merge."""
        data = serialize(metadata)
        cache = MetadataCache(self.repo.path / "nothing")
        smudger = Smudger(self.store, cache, update_types(), lambda _: None, self.formats)
        content = b"".join(bytes(piece) for piece in smudger.smudge(parse(data), data, self.path))
        assert self.cleaner.clean(iter([content]), self.path) == data
        return content

    def merge(
        self,
        ancestor: Metadata | None,
        *sides: Metadata,
        by: Mapping[str, Decision] | Decision | str | None = None,
    ) -> Outcome:
        """Merge; `by` says how each conflict, or every conflict, is settled."""

        def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
            self.asked = conflicts
            one = Decision(by) if isinstance(by, str) else by
            if isinstance(one, Decision):
                return {conflict.name: one for conflict in conflicts}
            return one or {}

        self.asked = ()
        return self.merger.merge(Versions(ancestor, sides), settle, self.path)

    def merged(self, ancestor: Metadata | None, *sides: Metadata, by: Any = None) -> Metadata:
        """The result of a merge that is settled; it must come back whole."""
        outcome = self.merge(ancestor, *sides, by=by)
        assert outcome.metadata is not None, outcome.unsettled
        assert outcome.unsettled == ()
        assert self.smudge(outcome.metadata)
        return outcome.metadata

    def values(self, entry: Entry) -> Array:
        """A group's values."""
        blocks = Reader(Arrays(self.store), update_types()).values(entry.update, Group(entry.dtype, entry.shape))
        rows = [np.frombuffer(block.result().tobytes(), np.uint8) for block in blocks]
        return typed(np.concatenate(rows or [np.empty(0, np.uint8)]), entry.dtype).reshape(entry.shape)

    def objects(self) -> dict[str, int]:
        """The objects in the store: bytes by name."""
        return {name: path.stat().st_size for name, path in self.repo.objects().items()}


def decision(method: str, **parameters: Any) -> Decision:
    """A decision."""
    return Decision(method, tuple(sorted(parameters.items())))


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Values as weights have them."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(dtype)


def near(values: Array, seed: int, step: float = 0.001) -> Array:
    """The values after a fine-tune."""
    noise = np.random.default_rng(seed).standard_normal(values.shape) * step
    return (values.astype(np.float64) + noise).astype(values.dtype)
