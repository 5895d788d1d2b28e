"""Whatever the values of a change are, the way chosen to keep it gives them back, without a word of warning."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import ObjectRef, Update
from git_theta.sources import BytesSource
from git_theta.store import arrays
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, choose, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.payloads import Payload, keep_payloads
from git_theta.updates.plans import Base, Change
from git_theta.updates.reading import Readers, results
from git_theta.updates.versions import Versions
from git_theta.updates.wanted import Wanted, keep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Values = npt.NDArray[Any]


def wanted(values: Values) -> Wanted:
    data = values.tobytes()
    return Wanted(BytesSource(data), 0, len(data), values.itemsize, tensors.digest(data))


def keep_change(old: Values, new: Values, folder: Path) -> Update:
    """Keep a change of an array in a new store, and check that the new values come back."""
    store = ObjectStore(folder / "theta")
    base, after = wanted(old), wanted(new)
    group = Group(old.dtype.name, old.shape)
    readers = Readers(store, update_types())
    update = keep([base], store)[base.digest]
    change = Change(group, after, (Base(update, base.digest),))
    chosen = choose.keep([change], store, readers, Limits())[after.digest]
    found = b"".join(rows.tobytes() for rows in results(readers.mine().begin().values(chosen, group)))
    assert found == new.tobytes()
    return chosen


def normal(seed: int, dtype: str) -> Values:
    return np.random.default_rng(seed).standard_normal((200, 300)).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float64", 1e307), ("float64", 1e200), ("float64", 1e-200), ("float64", 5e-324), ("float32", 3e37)],
)
def test_values_whose_squares_leave_the_range_of_floats(tmp_path: Path, dtype: str, scale: float) -> None:
    keep_change(
        normal(0, dtype) * np.dtype(dtype).type(scale), normal(1, dtype) * np.dtype(dtype).type(scale), tmp_path
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_patterns_of_bits(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(2)
    size = np.dtype(dtype).itemsize
    old, new = (rng.integers(0, 256, (200, 300 * size), np.uint8).view(dtype) for _ in range(2))
    keep_change(old, new, tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_infinity_in_the_old_values(tmp_path: Path, dtype: str) -> None:
    old = normal(3, dtype)
    old[0, 0], old[1], old[2], old[3], old[:, 5] = np.nan, np.inf, -np.inf, -0.0, np.nan
    keep_change(old, normal(4, dtype), tmp_path)


def test_factor_beyond_the_range_of_the_dtype(tmp_path: Path) -> None:
    old = np.full((200, 300), 1e-38, np.float32)
    keep_change(old, np.random.default_rng(5).random((200, 300), np.float32) * np.float32(1e38), tmp_path)


def test_low_rank_is_found_in_numbers_of_any_size(tmp_path: Path) -> None:
    product = np.random.default_rng(6).standard_normal((200, 3)) @ np.random.default_rng(7).standard_normal((3, 300))
    for number, scale in enumerate((1e-170, 1.0, 1e155)):
        old = normal(8, "float64") * scale
        update = keep_change(old, old + product * scale, tmp_path / str(number))
        assert [update.type, update.bases[0].type] == ["delta", "low-rank"]


def test_change_that_lapack_gives_up_on_is_kept_in_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", give_up)
    old = normal(9, "float32")
    keep_change(old, old * np.float32(1.001), tmp_path)


def test_base_whose_type_of_update_is_not_installed_is_not_built_on(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "theta")
    new = wanted(normal(10, "float32"))
    base = Base(Update("of-a-plugin", ObjectRef("0" * 64, 5)), "0" * 64)
    change = Change(Group("float32", (200, 300)), new, (base,))
    update = choose.keep([change], store, Readers(store, update_types()), Limits())[new.digest]
    assert update.type == "dense"


def test_factors_that_would_fill_the_memory_are_refused_unread(tmp_path: Path) -> None:
    """An object of a megabyte can hold gigabytes of zeros."""
    readers = Readers(ObjectStore(tmp_path / "theta"), update_types())
    ref = ObjectRef("0" * 64, 1 << 20)
    update = Update("low-rank", ref, (Update("dense", ref),), (("dtype", "float32"), ("rank", 1 << 19)))
    with pytest.raises(CorruptObjectError, match="of memory"):
        list(readers.mine().values(update, Group("float32", (1 << 20, 1 << 20))))


@pytest.mark.parametrize(
    ("kind", "parameters", "count"),
    [("low-rank", (("dtype", "float64"), ("rank", 1)), 7), ("ia3", (("dtype", "float64"), ("shape", (4,))), 4)],
)
def test_what_is_too_large_for_the_dtype_becomes_infinite(
    tmp_path: Path, kind: str, parameters: tuple[tuple[str, Any], ...], count: int
) -> None:
    store = ObjectStore(tmp_path / "theta")
    old, large = wanted(np.ones((3, 4), np.float32)), wanted(np.full(count, 1e300))
    kept = keep([old, large], store)
    update = Update(kind, kept[large.digest].object, (kept[old.digest],), parameters)
    blocks = results(Readers(store, update_types()).mine().values(update, Group("float32", (3, 4))))
    assert all(np.isposinf(np.frombuffer(block, np.float32)).all() for block in blocks)


@pytest.mark.parametrize("weight", [10**400, "1", None, float("inf")])
def test_weight_that_is_no_number_to_compute_with_is_an_error(tmp_path: Path, weight: object) -> None:
    readers = Readers(ObjectStore(tmp_path / "theta"), update_types())
    update = Update("linear", None, (Update("dense", None),), (("weights", (weight,)),))  # type: ignore[arg-type]
    with pytest.raises(CorruptObjectError, match="weight"):
        list(readers.mine().values(update, Group("float32", (4,))))


def test_large_changes_are_begun_first_and_small_ones_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [3, 200_000, 5, 400_000, 4]
    changes = [Change(Group("float32", (count,)), wanted(np.full(count, count, np.float32))) for count in counts]
    begun: list[Change] = []
    inner = choose.keep_made

    def keep_made(makes: Any, *rest: Any) -> Any:
        begun.extend(make() for make in makes)
        return inner(makes, *rest)

    monkeypatch.setattr(choose, "keep_made", keep_made)
    store = ObjectStore(tmp_path / "theta")
    kept = choose.keep(changes, store, Readers(store, update_types()), Limits())
    assert [change.group.shape[0] for change in begun] == [400_000, 200_000, 3, 5, 4]
    assert kept.keys() == {change.wanted.digest for change in changes}


@pytest.mark.parametrize("nbytes", [1, 200 * 300 * 8, 1 << 30])
def test_changes_are_kept_a_portion_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    """What is to be written for all groups of a large model need not fit in memory."""
    portions = []

    def counted(payloads: Iterable[Payload], store: ObjectStore) -> Mapping[Payload, ObjectRef | None]:
        found = list(payloads)
        portions.append(len(found))
        return keep_payloads(found, store)

    monkeypatch.setattr(choose, "_PORTION_BYTES", nbytes)
    monkeypatch.setattr(choose, "keep_payloads", counted)
    store = ObjectStore(tmp_path / "theta")
    readers = Readers(store, update_types())
    group = Group("float32", (200, 300))
    old = [normal(seed, "float32") for seed in range(5)]
    new = [values.copy() for values in old]
    for values in new:
        values[::10, ::10] = 7
    kept = keep([wanted(values) for values in old], store)
    bases = [Base(kept[wanted(values).digest], wanted(values).digest) for values in old]
    changes = [Change(group, wanted(values), (base,)) for values, base in zip(new, bases, strict=True)]
    updates = choose.keep(changes, store, readers, Limits())
    assert [count for count in portions if count] == {1: [1] * 5, 1 << 30: [5]}.get(nbytes, [2, 2, 1])
    for values in new:
        blocks = results(readers.mine().begin().values(updates[wanted(values).digest], group))
        assert b"".join(rows.tobytes() for rows in blocks) == values.tobytes()


def test_small_groups_keep_no_files_open_and_no_memory_until_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie in several objects, as groups do that were changed in several commits, and are written all at once."""
    store = ObjectStore(tmp_path / "theta")
    rng = np.random.default_rng(0)
    old = [rng.standard_normal(1000 + number, np.float32) for number in range(80)]
    parts = [keep([wanted(values) for values in old[part::8]], store) for part in range(8)]
    bases = [
        (Base(parts[number % 8][wanted(values).digest], wanted(values).digest),) for number, values in enumerate(old)
    ]
    new = [values * rng.uniform(0.9999, 1, values.shape).astype(np.float32) for values in old]
    changes = [
        Change(Group("float32", values.shape), wanted(values), base) for values, base in zip(new, bases, strict=True)
    ]
    opened: list[Any] = []
    most = [0]

    @contextmanager
    def counting(self: ObjectStore, ref: ObjectRef) -> Iterator[Any]:
        with opening(self, ref) as file:
            opened.append(file)
            most.append(sum(not file.closed for file in list(opened)))
            yield file

    def written(payloads: Iterable[Payload], store: ObjectStore) -> Mapping[Payload, ObjectRef | None]:
        assert not [found for found in gc.get_objects() if type(found) is Versions and found._begun is not None]
        return keep_payloads(payloads, store)

    opening = ObjectStore.open
    monkeypatch.setattr(ObjectStore, "open", counting)
    monkeypatch.setattr(choose, "keep_payloads", written)
    monkeypatch.setattr(arrays, "_KEPT_BYTES", 1 << 17)
    updates = choose.keep(changes, store, Readers(store, update_types()), Limits())
    assert {update.type for update in updates.values()} == {"delta"}
    assert len(opened) > 80
    assert max(most) <= 3
