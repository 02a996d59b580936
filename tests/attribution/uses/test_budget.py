from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from attribution.uses.budget import Budget
from attribution.uses.errors import UseError


def test_prices_and_budget_are_whole_numbers_of_one_unit() -> None:
    budget = Budget(Decimal("100.5"), "tokens", {"ann": Decimal("0.00025"), "bob": 3})
    assert budget.whole == 10_050_000
    assert budget.costs(["bob", "ann"]) == [300_000, 25]
    assert [budget.text(minor) for minor in (0, 25, 10_050_000)] == ["0.00000", "0.00025", "100.50000"]
    assert Budget(7, "records").costs(["ann"]) == [1]


def test_forty_digits_stay_exact() -> None:
    large = Decimal("1234567890123456789012345678901234567890.12")
    budget = Budget(large, "contributors", {"ann": Decimal("0.01")})
    assert budget.text(budget.whole) == str(large)
    assert budget.costs(["ann"]) == [1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Budget(0.1), "not exact"),  # type: ignore[arg-type]
        (lambda: Budget(5, prices={"ann": 0.1}), "price of 'ann'"),  # type: ignore[dict-item]
        (lambda: Budget(Decimal("NaN")), "0 or more"),
        (lambda: Budget(Decimal("Infinity")), "0 or more"),
        (lambda: Budget(-1), "0 or more"),
        (lambda: Budget(1, "apples"), "apples"),  # type: ignore[arg-type]
        (lambda: Budget(1, "contributors", fill=True), "fill up"),
        (lambda: Budget(1, prices={"eve": 1}).costs(["ann"]), "'eve'"),
        (lambda: Budget(1, prices={"ann": 1}).costs(["ann", "bob"]), "'bob' has no price"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, said: str) -> None:
    with pytest.raises(UseError, match=said):
        make()
