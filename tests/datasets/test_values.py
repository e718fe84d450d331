"""Numbers and flags as annotation files write them."""

import math
from typing import Any

import pytest

from bench.datasets.values import Spellings, finite, flag, shown, whole


@pytest.mark.parametrize(
    "value",
    [0, 0.0, False, None, "", " ", "0", "0.0", "false", "False", "FALSE", "no", "No",
     "Unspecified", "unspecified", "None"],
)  # fmt: skip
def test_not_set(value: Any) -> None:
    assert flag(value) is False


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "True", "TRUE", "yes", " Yes"])
def test_set(value: Any) -> None:
    assert flag(value) is True


@pytest.mark.parametrize(
    "value",
    [2, -1, 0.5, math.nan, math.inf, "2", "-1", "maybe", "nan", "0 1", "٠", "falsch", [], [0], {},
     {"a": 1}, ["true"], 10**400, "x" * 10_000],
)  # fmt: skip
def test_no_flag(value: Any) -> None:
    assert flag(value) is None


def test_spellings_are_counted() -> None:
    seen = Spellings("iscrowd", (0, 1))
    assert [seen.read(v) for v in (0, 1.0, True, "0", "false", "0", "yes", None)] == [
        False, True, True, False, False, False, True, False
    ]  # fmt: skip
    assert seen.cases() == [
        "'0' is read as 0, 2 times",
        "'false' is read as 0, 1 times",
        "'yes' is read as 1, 1 times",
        "None is read as 0, 1 times",
    ]


@pytest.mark.parametrize(
    ("value", "read"),
    [(3, 3), (3.0, 3), (-1, -1), (2**63 - 1, 2**63 - 1), (2**63, None), (1e300, None), (3.5, None),
     (True, None), ("3", None), (None, None), (math.nan, None), (math.inf, None), ([3], None)],
)  # fmt: skip
def test_whole_numbers(value: Any, read: int | None) -> None:
    assert whole(value) == read
    assert read is None or type(whole(value)) is int


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None, [1], 10**400])
def test_no_finite_number(value: Any) -> None:
    assert finite(value) is None
    assert finite(2) == 2


def test_what_is_shown_stays_short() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, list(range(10**5)), {str(i): i for i in range(1000)}):
        assert len(shown(value)) < 300
    assert shown([1, 2.5, "a"]) == "[1, 2.5, 'a']"
