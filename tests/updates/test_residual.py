"""What a prediction leaves: nothing, a few changes, or a difference everywhere; and what is written is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import loops, passes
from git_theta.store.description import BLOCK_ROWS
from git_theta.updates import residual
from git_theta.updates.payloads import UnusableBaseError, encode_batch
from git_theta.updates.plans import Base, Change, Stored
from git_theta.updates.reading import Readers
from git_theta.updates.residual import Differences, fit_residual
from tests.updates.scene import LARGE, Scene, Values, normal, parameters, update

if TYPE_CHECKING:
    from git_theta.updates.residual import Residual


def fitted(scene: Scene, old: Any, new: Any) -> Residual:
    values, base = Values.of(new), scene.base(old)
    change = Change(values.group, values.wanted(), (base,))
    return fit_residual(change, Stored(values.group, base), Readers(scene.store, scene.types))


def test_equal_values_leave_nothing(scene: Scene) -> None:
    old = normal((100, 100))
    found = fitted(scene, old, old.copy())
    assert (found.plan, found.nbytes) == (None, 0)


@pytest.mark.parametrize("count", [1, 10, 800])
def test_few_changes_are_sparse(scene: Scene, count: int) -> None:
    old = normal((100, 100))
    new = old.copy()
    new.reshape(-1)[np.random.default_rng(0).choice(10_000, count, replace=False)] += 1
    found = fitted(scene, old, new)
    assert found.plan is not None
    assert (found.plan.type, found.plan.parameters) == ("sparse", (("count", count),))


@pytest.mark.parametrize("count", [900, 10_000])
def test_many_changes_are_a_delta(scene: Scene, count: int) -> None:
    old = normal((100, 100))
    new = old.copy()
    new.reshape(-1)[:count] += 1
    found = fitted(scene, old, new)
    assert found.plan is not None
    assert found.plan.type == "delta"


def test_changes_that_are_many_in_one_block_only_are_a_delta_and_come_back(scene: Scene) -> None:
    old = normal(LARGE, "bfloat16")
    for part in (slice(0, 300_000), slice(BLOCK_ROWS, LARGE), slice(LARGE - 1000, LARGE)):
        new = old.copy()
        new[part] *= 1.01
        assert scene.change(old, new).type in ("delta", "sparse")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_estimate_of_a_delta_is_near_what_is_written(scene: Scene, dtype: str) -> None:
    old = normal(LARGE // 2, dtype)
    new = (old + normal(LARGE // 2, dtype, 1) * 0.01).astype(old.dtype)
    found = fitted(scene, old, new)
    assert found.plan is not None
    assert isinstance(found.plan.payload, Differences)
    with scene.store.writing() as writer:
        encode_batch([found.plan.payload], writer)
        size = writer.publish().size
    assert abs(found.nbytes - size) < 0.1 * size


def test_more_changes_than_may_be_in_memory_are_a_delta(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual, "MAX_COUNT", 5)
    old = normal((100, 100))
    for count, kind in ((5, "sparse"), (6, "delta")):
        new = old.copy()
        new[0, :count] += 1
        found = fitted(scene, old, new)
        assert found.plan is not None
        assert found.plan.type == kind


def differences(scene: Scene, new: Any, base: Base) -> Differences:
    values = Values.of(new)
    change = Change(values.group, values.wanted(), (base,))
    return Differences(change, Stored(values.group, base), Readers(scene.store, scene.types))


def test_differences_come_in_blocks_that_an_object_takes(scene: Scene) -> None:
    for dtype, count in (("complex64", 2), ("complex128", 2), ("float32", 1), ("bfloat16", 1)):
        old, new = normal(LARGE, dtype), normal(LARGE, dtype, 1)
        payload = differences(scene, new, scene.base(old))
        sizes = [rows.shape for rows in payload.rows()]
        assert sum(size[0] for size in sizes) == LARGE * count
        assert {size[1] for size in sizes} == {payload.itemsize}
        assert {size[0] for size in sizes[:-1]} == {BLOCK_ROWS}
        assert payload.nbytes == old.nbytes


def test_difference_that_cannot_be_undone_is_not_given_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor or a library that fails must not cost values."""

    def wrong(codes: Any, out: Any, room: Any) -> None:
        right(codes, out, room)
        out[-1] += 1

    old, new = normal(1000), normal(1000, seed=1)
    payload = differences(scene, new, scene.base(old))
    right = passes._decode
    monkeypatch.setattr(loops, "native", None)
    monkeypatch.setattr(passes, "_decode", wrong)
    with pytest.raises(UnusableBaseError, match="cannot be undone"):
        list(payload.rows())


def test_differences_on_a_base_of_other_values_are_not_given_out_to_the_end(scene: Scene) -> None:
    old, new = normal(1000), normal(1000, seed=1)
    lie = Base(scene.base(old).update, Values.of(new).digest)
    with pytest.raises(UnusableBaseError, match="does not have the values"):
        list(differences(scene, new, lie).rows())


def test_changes_too_far_apart_for_a_gap_make_the_base_unusable(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_theta.updates.gaps.MAX_GAP", 100)
    old = normal((100, 100))
    new = old.copy()
    new[50, 50] += 1
    made, data = scene.keep(new, scene.base(old))
    assert (made, data) == (update("dense", made.object), new.tobytes())
    new[:, 0] += 1
    assert parameters(scene.change(old, new)) == {"count": 101}
