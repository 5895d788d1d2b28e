"""The cheapest update that gives the very values is chosen, within bounds, and never a base that cannot be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta import tensors
from git_theta.errors import ChangedWhileReadingError
from git_theta.metadata_file import MAX_NESTED
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, choose, update_types
from git_theta.updates.choose import AUTO, MIN_BYTES, Limits
from git_theta.updates.plans import Base, Change, chain_nbytes, length, nested_count
from git_theta.updates.reading import Readers, memory_nbytes
from tests.updates.scene import Scene, Values, bits, cost, normal, types, update

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (AUTO, *update_types().builtins)
SHAPES = [(), (0,), (3, 0, 2), (1,), (9000,), (1, 9000), (9000, 1), (9, 10, 100), (10, 9, 10, 10)]


def edited(old: Any, seed: int = 0, count: int = 9) -> Any:
    new = old.copy()
    new.reshape(-1)[np.random.default_rng(seed).choice(old.size, count, replace=False)] += 1
    return new


def tuned(old: Any, seed: int = 9, size: float = 0.005) -> Any:
    return (old.astype(np.float64) + normal(old.shape, "float64", seed) * size).astype(old.dtype)


def product(old: Any, rank: int = 2) -> Any:
    left, right = normal((len(old), rank), "float64", 5), normal((rank, old.size // len(old)), "float64", 6)
    return (old.astype(np.float64) + 10 * (left @ right).reshape(old.shape)).astype(old.dtype)


# --- whatever the values are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auto", "low-rank", "linear"])
@pytest.mark.parametrize("dtype", tensors.BLOCKS)
def test_any_bits_of_any_dtype_come_back_whatever_is_asked_for(scene: Scene, dtype: str, kind: str) -> None:
    old, new = (bits(dtype, (4, 3, 256), seed) for seed in range(2))
    few = bytearray(old.data)
    few[7] ^= 1
    for values in (new, Values(old.group, bytes(few))):
        for bases in ([old], [old, new]):
            if values.digest not in {base.digest for base in bases}:
                _, data = scene.keep(values, *map(scene.base, bases), kind=kind)
                assert data == values.data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["int64", "bfloat16", "float32", "complex64"])
def test_any_shape_comes_back_whatever_is_asked_for(
    scene: Scene, dtype: str, shape: tuple[int, ...], kind: str
) -> None:
    old, new = (bits(dtype, shape, seed) for seed in range(2))
    update, data = scene.keep(new, scene.base(old), kind=kind)
    assert data == new.data
    assert (update.object is None) == (not new.data)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "linear"])
def test_kind_that_is_asked_for_is_taken_where_it_fits(scene: Scene, kind: str) -> None:
    old = normal((100, 120), "bfloat16")
    news = {"sparse": edited(old), "delta": tuned(old), "low-rank": product(old), "auto": tuned(old)}
    news |= {"ia3": old * old.dtype.type(1.5), "dense": edited(old)}
    update, data = scene.keep(news[kind], scene.base(old), kind=kind)
    assert data == Values.of(news[kind]).data
    assert ("delta" if kind == "auto" else kind) in types(update)


def test_kind_that_does_not_fit_gives_way_to_the_cheapest(scene: Scene) -> None:
    old = normal((100, 120), "bfloat16")
    for kind in ("linear", "delta"):
        assert types(scene.change(old, edited(old), kind)) == ["sparse", "dense"]
        assert types(scene.change(old, normal((100, 120), "bfloat16", 1), kind)) == ["dense"]


def test_dense_asked_for_is_dense(scene: Scene) -> None:
    old = normal((100, 120))
    assert types(scene.change(old, edited(old), "dense")) == ["dense"]


def test_small_groups_are_kept_whole_unless_asked(scene: Scene) -> None:
    old = normal(MIN_BYTES // 4 - 1)
    assert types(scene.change(old, edited(old, count=1))) == ["dense"]
    assert types(scene.change(old, edited(old, count=1), "sparse")) == ["sparse", "dense"]
    old = normal(MIN_BYTES // 4)
    assert types(scene.change(old, edited(old, count=1))) == ["sparse", "dense"]


def test_group_without_a_base_is_dense(scene: Scene) -> None:
    update, data = scene.keep(normal((100, 120)))
    assert (types(update), data) == (["dense"], normal((100, 120)).tobytes())


@pytest.mark.parametrize("change", [edited, tuned, product])
def test_what_is_chosen_is_smaller_than_dense(scene: Scene, change: Any) -> None:
    for dtype in ("float32", "bfloat16"):
        old = normal((200, 300), dtype)
        update = scene.change(old, change(old))
        whole = scene.change(old, change(old), "dense")
        assert whole.object is not None
        assert cost(update) < whole.object.size


def test_many_changes_at_once_each_get_their_own(scene: Scene) -> None:
    olds = [normal((40 + number, 50), "bfloat16", number) for number in range(12)]
    news = [(edited, tuned, product)[number % 3](old) for number, old in enumerate(olds)]
    changes = []
    for old, new in zip(olds, news, strict=True):
        values = Values.of(new)
        changes.append(Change(values.group, values.wanted(), (scene.base(old),)))
    kept = choose.keep(changes, scene.store, Readers(scene.store, scene.types), Limits())
    for new in map(Values.of, news):
        assert scene.read(kept[new.digest], new.group) == new.data
    assert choose.keep([], scene.store, Readers(scene.store, scene.types), Limits()) == {}


def keep_all(scene: Scene, arrays: list[Any], *bases: list[Base]) -> list[Base]:
    """Keep arrays together, so that small ones share an object, each on top of its bases."""
    values = [Values.of(array) for array in arrays]
    below = zip(*bases, strict=True) if bases else [()] * len(values)
    changes = [Change(one.group, one.wanted(), tuple(under)) for one, under in zip(values, below, strict=True)]
    kept = choose.keep(changes, scene.store, Readers(scene.store, scene.types), Limits())
    for one in values:
        assert scene.read(kept[one.digest], one.group) == one.data
    return [Base(kept[one.digest], one.digest) for one in values]


def test_chains_of_groups_that_share_an_object_count_what_is_theirs_of_it(scene: Scene) -> None:
    """Of bfloat16, a fine-tune keeps a third of what it changes: counted as a whole, nothing could build on it."""
    olds = [normal((60, 70), "bfloat16", number) for number in range(20)]
    whole = keep_all(scene, olds)
    ones, twos = ([tuned(old, seed) for old in olds] for seed in (101, 102))
    one, two = (keep_all(scene, news, whole) for news in (ones, twos))
    assert len({base.update.object.oid for base in (*one, *two) if base.update.object}) == 2
    means = [
        (a.astype(np.float32) / 2 + b.astype(np.float32) / 2).astype(a.dtype) for a, b in zip(ones, twos, strict=True)
    ]
    for mean in keep_all(scene, means, one, two):
        assert types(mean.update) == ["linear", "delta", "dense", "delta", "dense"]
    for more in keep_all(scene, [edited(one) for one in ones], one):
        assert types(more.update) == ["sparse", "delta", "dense"]


def test_chain_whose_object_is_lost_counts_as_if_it_were_not_compressed(scene: Scene) -> None:
    olds = [normal((60, 70), "bfloat16", number) for number in range(20)]
    news = keep_all(scene, [tuned(old) for old in olds], keep_all(scene, olds))
    scene.lose(news[0].update)
    readers = Readers(scene.store, scene.types)
    assert chain_nbytes(news[0].update, Group("bfloat16", (60, 70)), readers) == 60 * 70 * 2


def test_same_change_gives_the_same_update(scene: Scene, tmp_path: Path) -> None:
    other = Scene(ObjectStore(tmp_path / "other"))
    for change in (edited, tuned, product):
        old = normal((100, 120), "bfloat16")
        assert scene.change(old, change(old)) == other.change(old, change(old))


def test_file_that_changes_meanwhile_is_an_error(scene: Scene) -> None:
    old, new = normal((100, 120)), Values.of(edited(normal((100, 120))))
    values = replace(new.wanted(), digest=Values.of(old + 1).digest)
    changes = [Change(new.group, values, (scene.base(old),))]
    with pytest.raises(ChangedWhileReadingError):
        choose.keep(changes, scene.store, Readers(scene.store, scene.types), Limits())


# --- bases that cannot be trusted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auto", "delta", "low-rank"])
@pytest.mark.parametrize("change", [edited, tuned, product])
@pytest.mark.parametrize("fault", ["missing", "spoilt", "lies", "other rows", "unknown type", "bad settings"])
def test_base_that_is_not_what_it_says_is_not_built_on(scene: Scene, fault: str, change: Any, kind: str) -> None:
    old = normal((200, 300), "bfloat16")
    new, base = Values.of(change(old)), scene.base(old)
    if fault == "missing":
        scene.lose(base.update)
    elif fault == "spoilt":
        scene.spoil(base.update)
    elif fault == "lies":
        base = Base(scene.base(edited(old, 77, 1)).update, base.digest)
    elif fault == "other rows":
        base = Base(scene.base(old[:199]).update, base.digest)
    elif fault == "unknown type":
        base = Base(update("shear", None, base.update), base.digest)
    else:
        base = Base(update("sparse", base.update.object, base.update, count=0), base.digest)
    update_, data = scene.keep(new, base, kind=kind)
    assert (types(update_), data) == (["dense"], new.data)


@pytest.mark.parametrize("fault", ["missing", "lies"])
@pytest.mark.parametrize("which", [0, 1])
def test_average_with_a_version_that_cannot_be_trusted_is_exact(scene: Scene, fault: str, which: int) -> None:
    one, two = normal((100, 120), seed=1), normal((100, 120), seed=2)
    bases = [scene.base(one), scene.base(two)]
    if fault == "missing":
        scene.lose(bases[which].update)
    else:
        bases[which] = Base(scene.base(edited((one, two)[which], 3, 1)).update, bases[which].digest)
    new = Values.of((one + two) * np.float32(0.5))
    update, data = scene.keep(new, *bases)
    assert (types(update), data) == (["dense"], new.data)


def test_base_that_vanishes_after_it_was_chosen_is_not_built_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may prune the store in between."""
    old = normal((200, 300), "bfloat16")
    new, base = Values.of(tuned(old)), scene.base(old)
    written = choose.keep_alone

    def losing(*given: Any) -> Any:
        scene.store.path(base.update.object.oid).unlink(missing_ok=True)  # type: ignore[union-attr]
        return written(*given)

    monkeypatch.setattr(choose, "keep_alone", losing)
    update, data = scene.keep(new, base)
    assert (types(update), data) == (["dense"], new.data)


# --- chains ---------------------------------------------------------------------------------------------------------


def versions(scene: Scene, change: Any, count: int, limits: Limits) -> list[Base]:
    """Versions that follow one another, each kept on top of the one before."""
    array = normal((60, 70), "bfloat16")
    found = [scene.base(array)]
    for seed in range(count):
        array = change(array, seed)
        update, data = scene.keep(array, found[-1], limits=limits)
        assert data == Values.of(array).data
        found.append(scene.base(array, update))
    return found


@pytest.mark.parametrize("most", [0, 1, 3, 8])
def test_chain_is_as_long_as_is_allowed_and_then_the_group_is_whole_again(scene: Scene, most: int) -> None:
    found = [length(base.update) for base in versions(scene, edited, 11, Limits(most))]
    assert found == [number % (most + 1) for number in range(12)]


def test_chain_ends_where_reading_it_would_take_much_memory(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group("bfloat16", (60, 70))
    unbounded = [base.update for base in versions(scene, edited, 8, Limits(8))]
    told = [memory_nbytes(update, group, scene.types) for update in unbounded]
    assert told == sorted(set(told))
    monkeypatch.setattr(choose, "_MEMORY_BYTES", told[3])
    assert [length(base.update) for base in versions(scene, edited, 8, Limits(8))] == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_chain_stays_smaller_than_dense(scene: Scene) -> None:
    group = Group("bfloat16", (60, 70))
    found = versions(scene, tuned, 8, Limits(8))
    assert {length(base.update) for base in found} > {0, 1}
    assert max(length(base.update) for base in found) < 8
    for base in found:
        whole = [part for part in base.update.nested() if not part.bases][-1]
        assert whole.object is not None
        assert chain_nbytes(base.update, group, Readers(scene.store, scene.types)) < whole.object.size


def test_prediction_and_its_correction_are_one_step(scene: Scene) -> None:
    old = normal((100, 120), "bfloat16")
    made = scene.change(old, product(old))
    assert types(made)[0] in ("sparse", "delta")
    assert types(made)[1:] == ["low-rank", "dense"]
    assert length(made) == 1


def test_updates_of_a_merge_of_merges_are_bounded(scene: Scene) -> None:
    one, two = normal((40, 50), seed=1), normal((40, 50), seed=2)
    bases = [scene.base(one), scene.base(two)]
    sizes = []
    for _ in range(9):
        mean = (one.astype(np.float64) * 0.3 + two.astype(np.float64) * 0.7).astype(np.float32)
        update, data = scene.keep(mean, *bases, limits=Limits(32))
        assert data == mean.tobytes()
        sizes.append(nested_count(update))
        one, two = mean, one
        bases = [scene.base(mean, update), bases[0]]
    assert max(sizes) <= MAX_NESTED
    assert sizes[:3] == [3, 5, 9]
    assert 1 in sizes
