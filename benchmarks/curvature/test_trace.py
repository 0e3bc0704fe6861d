"""Trace of ``-I / sigma^2`` plus rank 100 at d = 16,384, at equal products: root mean square error over 32 draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.curvature.problems import ShiftedLowRank
from memdet.curvature import hutch_plus_plus, hutchinson, xtrace

DRAWS, BATCH = 32, 8
PROBLEM = ShiftedLowRank()
Draws = Callable[[int], Tensor]


def _signs(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCH, PROBLEM.d)
    return [torch.randint(0, 2, shape, generator=generator).double() * 2 - 1 for _ in range(count)]


def _gaussian(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, PROBLEM.d, generator=generator, dtype=torch.float64) for _ in range(count)]


def _memdet(products: int, estimate: Callable[[int, int], Tensor]) -> Tensor:
    return torch.cat([estimate(products, seed) for seed in range(DRAWS // BATCH)])


def _curvlinops(name: str, shift: float) -> Draws:
    def draws(products: int) -> Tensor:
        curvlinops = pytest.importorskip("curvlinops")
        base = pytest.importorskip("curvlinops._torch_base")

        class Operator(base.PyTorchLinearOperator):
            SELF_ADJOINT = True
            device, dtype = torch.device("cpu"), torch.float64

            def _matmat(self, columns):
                return [PROBLEM.columns(columns[0], shift)]

        operator = Operator([(PROBLEM.d,)], [(PROBLEM.d,)])
        values = []
        for seed in range(DRAWS):
            torch.manual_seed(seed)
            values.append(getattr(curvlinops, name)(operator, products) - shift * PROBLEM.d)
        return torch.stack(values)

    return draws


METHODS: dict[str, Draws] = {
    "memdet hutchinson, Rademacher": lambda products: _memdet(
        products, lambda k, seed: hutchinson(PROBLEM.product, _signs(k, seed)).value
    ),
    "memdet hutchinson, Gaussian": lambda products: _memdet(
        products, lambda k, seed: hutchinson(PROBLEM.product, _gaussian(k, seed)).value
    ),
    "memdet hutch_plus_plus, shifted": lambda products: _memdet(
        products, lambda k, seed: hutch_plus_plus(PROBLEM.product, _signs(2 * k // 3, seed), PROBLEM.shift).value
    ),
    "memdet xtrace, shifted": lambda products: _memdet(
        products, lambda k, seed: xtrace(PROBLEM.product, _signs(k // 2, seed), PROBLEM.shift).value
    ),
    "curvlinops hutchinson_trace": _curvlinops("hutchinson_trace", 0.0),
    "curvlinops hutchpp_trace": _curvlinops("hutchpp_trace", 0.0),
    "curvlinops hutchpp_trace, shifted by hand": _curvlinops("hutchpp_trace", PROBLEM.shift),
    "curvlinops xtrace": _curvlinops("xtrace", 0.0),
    "curvlinops xtrace, shifted by hand": _curvlinops("xtrace", PROBLEM.shift),
}
PLAIN, THIRDS, PAIRS = [1, 2, 4, 8, 16, 32, 64], [3, 6, 15, 30, 63, 330], [4, 8, 16, 32, 64, 240]


def _budgets(method: str) -> list[int]:
    """Those that the method can spend; the last of Hutch++ and XTrace give a sketch larger than the rank."""
    return THIRDS if "hutchpp" in method or "plus" in method else PAIRS if "xtrace" in method else PLAIN


@pytest.mark.parametrize(("method", "products"), [(name, k) for name in METHODS for k in _budgets(name)])
def test_trace(method: str, products: int, benchmark, record) -> None:
    values = benchmark.pedantic(METHODS[method], args=(products,), rounds=1)
    errors = (values - PROBLEM.trace) / abs(PROBLEM.trace)
    record(
        "trace",
        method=method,
        products=products,
        dimension=PROBLEM.d,
        rank=PROBLEM.rank,
        draws=DRAWS,
        error=float(errors.square().mean().sqrt()) if errors.isfinite().all() else math.inf,
    )


def test_a_rademacher_probe_is_worth_many_gaussian_ones(table) -> None:
    errors = {row["method"]: row["error"] for row in table("trace", products=1)}
    ratio = errors["memdet hutchinson, Gaussian"] / errors["memdet hutchinson, Rademacher"]
    assert ratio >= 10, f"the error of a Gaussian probe is {ratio:.1f} times that of a Rademacher one: {errors}"


@pytest.mark.parametrize(
    ("method", "products"), [("memdet hutch_plus_plus, shifted", 330), ("memdet xtrace, shifted", 240)]
)
def test_exact_once_the_sketch_exceeds_the_rank(method: str, products: int, table) -> None:
    (row,) = table("trace", method=method, products=products)
    assert row["error"] < 1e-12, f"{method} with {products} products: relative error {row['error']:.1e}"
