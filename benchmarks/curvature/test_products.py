"""Time and error of a Jacobian product of ``tiny-sd-a``, batch 64, by every road; and what Krylov adds to its products.

Errors are against forward AD (reverse for the transpose) of the same network in float64. What is compared as a ratio
is timed in turn, round by round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.conftest import BATCH, DEVICE
from memdet.curvature import JacobianOperator, fastest_operator, krylov
from memdet.models import Condition, ScoreModel, load_model
from memdet.models.device import synchronise
from memdet.probing import Items

TIME, STEPS, TOLERANCE = 481, 40, 1e-3
Product = Callable[[Tensor], Tensor]


class Network:
    """The score at one time and its conditions, and float64 products to compare with."""

    def __init__(self, model: ScoreModel, conditions: list[str]) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (len(conditions), *model.latent_shape)
        self.x, self.v = (torch.randn(shape, generator=generator).to(DEVICE) for _ in range(2))
        self.model, self.embedding = model, model.embed(conditions)
        wide = load_model("tiny-sd-a", device=DEVICE, dtype=torch.float64)
        embedding = wide.embed(conditions)
        exact = JacobianOperator(lambda z: wide.score(z, TIME, embedding).double(), self.x.double())
        self.exact = {False: exact.mv(self.v.double()), True: exact.rmv(self.v.double())}

    def __call__(self, x: Tensor) -> Tensor:
        """The score of each item."""
        return self.model.score(x, TIME, self.embedding)

    def item(self, x: Tensor, encoded: Tensor) -> Tensor:
        """The score of one item, without the batch dimension."""
        condition = Condition.of(encoded[None], next(iter(self.embedding.tensors)))
        return self.model.score(x[None], TIME, condition)[0]

    def error(self, product: Product, transposed: bool) -> float:
        """Largest relative error of an item."""
        exact = self.exact[transposed].flatten(1)
        return float(((product(self.v).double().flatten(1) - exact).norm(dim=1) / exact.norm(dim=1)).max())


@pytest.fixture(scope="module")
def network(model: ScoreModel, items: Items) -> Network:
    return Network(model, items.conditions)


def _made(network: Network, backend: Any) -> JacobianOperator:
    if backend == "auto":
        return fastest_operator(network, network.x, tolerance=TOLERANCE)[0]
    return JacobianOperator(network, network.x, backend)


def _operator(backend: Any) -> Callable[[Network], Product]:
    def build(network: Network) -> Product:
        operator = _made(network, backend)
        return operator.rmv if backend == "vjp" else operator.mv

    return build


def _linearize(network: Network) -> Product:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        _, product = torch.func.linearize(network, network.x)
    return product


def _vmap(network: Network) -> Product:
    def one(x: Tensor, encoded: Tensor, v: Tensor) -> Tensor:
        return torch.func.jvp(lambda z: network.item(z, encoded), (x,), (v,))[1]

    def product(v: Tensor) -> Tensor:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return torch.func.vmap(one)(network.x, network.embedding.tensor, v)

    return product


ROADS: dict[str, Callable[[Network], Product]] = {
    **{f"memdet {name}": _operator(name) for name in ("jvp", "vjp", "fd", "fd-one-sided", "auto")},
    "torch.func.linearize": _linearize,
    "vmap(jvp)": _vmap,
}


@pytest.mark.parametrize("road", ROADS)
def test_product(road: str, benchmark, network: Network, record) -> None:
    start = time.perf_counter()
    product = ROADS[road](network)
    synchronise(torch.device(DEVICE))
    setup = time.perf_counter() - start
    error = network.error(product, transposed="vjp" in road)
    benchmark.pedantic(_waited(product), args=(network.v,), rounds=10, warmup_rounds=1)
    record("products", method=road, batch_size=BATCH, setup_seconds=setup, largest_error=error)
    assert error < TOLERANCE or road.endswith("one-sided"), f"{road}: relative error {error:.1e}"


def test_auto_is_as_fast_as_the_fastest_that_is_right(benchmark, network: Network, record) -> None:
    auto = _made(network, "auto")
    operators = {name: JacobianOperator(network, network.x, name) for name in ("jvp", "fd", "fd-one-sided")}
    operators = {"auto": auto, **operators}
    errors = {name: network.error(operator.mv, transposed=False) for name, operator in operators.items()}
    seconds = in_turn({name: lambda op=op: op.mv(network.v) for name, op in operators.items()}, rounds=15)
    fastest = min((name for name in seconds if name != "auto" and errors[name] <= TOLERANCE), key=seconds.__getitem__)
    ratio = seconds["auto"] / seconds[fastest]
    benchmark.pedantic(_waited(auto.mv), args=(network.v,), rounds=5)
    figures = {"ratio": ratio, "largest_error": errors["auto"], "seconds_each": seconds, "errors": errors}
    record("auto", chosen=auto.backend, fastest=fastest, **figures)
    assert errors["auto"] < TOLERANCE, f"auto took {auto.backend}: relative error {errors['auto']:.1e}"
    assert ratio <= 1.1, f"auto took {auto.backend}, {ratio:.2f} times the time of {fastest}: {seconds}"


@pytest.mark.parametrize("backend", ["jvp", "fd", "auto"])
def test_krylov_adds_little_to_its_products(backend: str, benchmark, network: Network, record) -> None:
    operator = _made(network, backend)

    def bare() -> None:
        for _ in range(STEPS):
            if operator.backend == "jvp":
                with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                    torch.func.jvp(network, (network.x,), (network.v,))
            else:
                with torch.no_grad():
                    for _ in range(2 if operator.backend == "fd" else 1):
                        network(network.x)

    def run() -> None:
        krylov(operator.mv, network.v, STEPS)

    seconds = in_turn({"bare": bare, "krylov": run}, rounds=5)
    ratio = seconds["krylov"] / seconds["bare"]
    benchmark.pedantic(run, rounds=2)
    record("overhead", backend=backend, chosen=operator.backend, steps=STEPS, batch_size=BATCH, ratio=ratio)
    assert ratio <= 1.15, f"{STEPS} Krylov steps by {operator.backend} take {ratio:.3f} times their bare products"


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each call, one of each a round, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            synchronise(torch.device(DEVICE))
            start = time.perf_counter()
            call()
            synchronise(torch.device(DEVICE))
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def _waited(product: Product) -> Product:
    def call(v: Tensor) -> Tensor:
        result = product(v)
        synchronise(torch.device(DEVICE))
        return result

    return call
