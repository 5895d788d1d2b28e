"""Parameters of merge methods: checked in one place, with one-line errors that help."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from git_theta.errors import MergeError
from git_theta.merges import merge_methods
from git_theta.merges.parameters import SHARE, Kind, Parameter, resolve

if TYPE_CHECKING:
    from git_theta.merges.parameters import Params

BF16 = ml_dtypes.bfloat16
DENSITY = Parameter("density", Kind.NUMBER, 1.0, "share", per_input=True, range=SHARE)
SCALE = Parameter("scale", Kind.NUMBER, None, "factor", per_input=True)
STEPS = Parameter("steps", Kind.COUNT, 10, "steps", range=(1, math.inf))
RESCALE = Parameter("rescale", Kind.FLAG, True, "whether")
ELECTION = Parameter("election", Kind.CHOICE, "sum", "how", choices=("sum", "count"))
T = Parameter("t", Kind.NUMBER, None, "where", required=True)


def resolved(given: dict[str, Any], *table: Parameter, inputs: int = 2) -> Params:
    return resolve("example", table, given, inputs)


class Lines:
    def __repr__(self) -> str:
        return "one\n    two"


def test_what_is_not_given_has_its_default() -> None:
    params = resolved({}, DENSITY, SCALE, STEPS, RESCALE, ELECTION)
    assert params.numbers("density") == (1.0, 1.0)
    assert params.numbers_or_none("scale") == (None, None)
    assert params.count("steps") == 10
    assert params.flag("rescale")
    assert params.choice("election") == "sum"


@pytest.mark.parametrize("given", [[0.2, 0.7], (0.2, 0.7), np.array([0.2, 0.7])])
def test_an_input_may_have_a_value_of_its_own(given: Any) -> None:
    assert resolved({"density": given}, DENSITY).numbers("density") == (0.2, 0.7)
    assert resolved({"density": 0.2}, DENSITY, inputs=3).numbers("density") == (0.2, 0.2, 0.2)


def test_numbers_of_numpy_are_numbers() -> None:
    params = resolved({"density": np.float32(0.5), "steps": np.int64(3), "rescale": np.False_}, DENSITY, STEPS, RESCALE)
    assert (params.numbers("density"), params.count("steps"), params.flag("rescale")) == ((0.5, 0.5), 3, False)
    assert type(params.values["steps"]) is int
    assert resolved({"density": np.array(0.5), "steps": np.array(3)}, DENSITY, STEPS).numbers("density") == (0.5, 0.5)
    assert resolved({"density": BF16(0.5)}, DENSITY).numbers("density") == (0.5, 0.5)
    assert resolved({"density": [BF16(0.5), 0.25]}, DENSITY).numbers("density") == (0.5, 0.25)


def test_a_tensor_of_torch_is_a_list() -> None:
    torch = pytest.importorskip("torch")
    assert resolved({"density": torch.tensor([0.5, 0.25])}, DENSITY).numbers("density") == (0.5, 0.25)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"desnity": 1}, r"no parameter 'desnity'; it knows density, steps, rescale, election"),
    "too large": ({"density": 1.5}, r"density must be a number from 0 to 1, not 1\.5"),
    "one of them": ({"density": [0.5, -1]}, r"density must be a number from 0 to 1, not -1"),
    "too many": ({"density": [0.5, 0.5, 0.5]}, r"density has 3 values for 2 inputs"),
    "not a number": ({"density": math.nan}, "not nan"),
    "text": ({"density": "0.5"}, "not '0.5'"),
    "flag for number": ({"density": True}, "not True"),
    "number for flag": ({"rescale": 1}, "rescale must be true or false, not 1"),
    "fraction": ({"steps": 2.5}, r"steps must be a whole number from 1 up, not 2\.5"),
    "zero": ({"steps": 0}, "not 0"),
    "list": ({"steps": [1, 2]}, r"not \[1, 2\]"),
    "set": ({"density": {0.5, 0.7}}, "not {"),
    "table": ({"density": np.eye(2)}, r"not \[1\.0, 0\.0\]"),
    "word": ({"election": "all"}, "election must be one of sum, count, not 'all'"),
    "none": ({"density": None}, "not None"),
    "several lines": ({"density": Lines()}, "not one two$"),
    "long": ({"election": "x" * 1000}, r"not 'x{39}\.\.\.$"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MergeError, match=message) as caught:
        resolved(given, DENSITY, STEPS, RESCALE, ELECTION)
    assert "\n" not in str(caught.value)


def test_what_is_required_must_be_given() -> None:
    with pytest.raises(MergeError, match="example needs the parameter t, a number"):
        resolved({}, T)
    with pytest.raises(MergeError, match="t must be a number, not None"):
        resolved({"t": None}, T)
    with pytest.raises(MergeError, match="has no parameter 't'; it has none"):
        resolved({"t": 1})


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (DENSITY, "0.5", 0.5),
        (DENSITY, "0.5, 1", (0.5, 1.0)),
        (STEPS, "1e1", None),
        (STEPS, "12", 12),
        (RESCALE, "False", False),
        (RESCALE, "no", None),
        (ELECTION, "count", "count"),
        (T, "-1e-5", -1e-5),
        (T, "0.1,0.2", None),
        (T, "inf", None),
        (T, "", None),
    ],
)
def test_text_is_parsed_and_checked(parameter: Parameter, text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(MergeError, match=f"{parameter.name} must be"):
            parameter.parse(text)
    else:
        assert parameter.parse(text) == value


def test_defaults_are_those_that_mergekit_has() -> None:
    family = merge_methods()
    defaults = {
        name: {parameter.name: parameter.default for parameter in family.get(name).parameters}
        for name in family.builtins
    }
    switches = {name: (found.get("normalize"), found.get("rescale")) for name, found in defaults.items()}
    assert switches["task_arithmetic"] == (False, False)
    assert switches["linear"] == (True, None)
    assert switches["ties"] == (True, False)
    assert switches["dare_linear"] == switches["dare_ties"] == switches["della_linear"] == (False, True)
    assert switches["della"] == (True, True)
    assert switches["breadcrumbs"] == switches["breadcrumbs_ties"] == (False, False)
    assert (defaults["breadcrumbs"]["gamma"], defaults["della"]["epsilon"]) == (0.01, 0.15)
    assert (defaults["karcher"]["max_iter"], defaults["karcher"]["tol"]) == (10, 1e-5)
    assert (defaults["ram"]["epsilon"], defaults["ramplus_tl"]["r"], defaults["ramplus_tl"]["alpha"]) == (
        1e-5,
        0.1,
        0.2,
    )
    assert defaults["multislerp"]["eps"] == 1e-8
    assert defaults["sce"]["select_topk"] == defaults["ties"]["density"] == defaults["ties"]["lambda"] == 1.0
