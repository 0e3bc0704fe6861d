"""Every way to the smallest eigenvalue of the symmetric part, called as its authors document it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.curvature import plain
from benchmarks.curvature.problems import NoisyDensities
from memdet.curvature import krylov

Solve = Callable[[NoisyDensities, int], Tensor]


@dataclass(frozen=True)
class Method:
    """A contestant.

    Attributes:
        solve: Smallest eigenvalue of each item, ``[batch]``, from a problem and a number of steps.
        transposed: Asks for products with the transpose, which a network gives by reverse AD alone.
        looped: Takes one item at a time.
    """

    solve: Solve
    transposed: bool = False
    looped: bool = False


def _memdet(problem: NoisyDensities, steps: int) -> Tensor:
    return krylov(problem.product, problem.start(), steps).extreme().value[:, 0]


def _three_term(problem: NoisyDensities, steps: int) -> Tensor:
    return plain.three_term_lanczos(problem.product, problem.start(), steps)


def _complex_arnoldi(symmetrised: bool) -> Solve:
    def solve(problem: NoisyDensities, steps: int) -> Tensor:
        start = problem.start()

        def one(i: int) -> Tensor:
            product = problem.item(i)
            matrix = plain.complex_arnoldi(lambda v: torch.from_numpy(product(v.numpy())), start[i], steps)
            if symmetrised:
                return torch.linalg.eigvalsh((matrix + matrix.mH) / 2)[0]
            return torch.linalg.eigvals(matrix).real.min()

        return torch.stack([one(i) for i in range(problem.batch)])

    return solve


def _scipy(name: str, symmetrised: bool) -> Solve:
    def solve(problem: NoisyDensities, steps: int) -> Tensor:
        from scipy.sparse.linalg import LinearOperator, eigs, eigsh

        start = problem.start().numpy()
        solver, which = (eigsh, "SA") if name == "eigsh" else (eigs, "SR")
        values = []
        for i in range(problem.batch):
            operator = LinearOperator((problem.d, problem.d), matvec=problem.item(i, symmetrised), dtype=np.float32)
            value = solver(operator, k=1, which=which, v0=start[i], ncv=steps, tol=1e-2, return_eigenvectors=False)
            values.append(value[0].real)
        return torch.tensor(values, dtype=torch.float64)

    return solve


def _linear_operator(symmetrised: bool) -> Solve:
    def solve(problem: NoisyDensities, steps: int) -> Tensor:
        lanczos = pytest.importorskip("linear_operator.utils.lanczos")
        product = problem.symmetrised if symmetrised else problem.product
        _, matrix = lanczos.lanczos_tridiag(
            lambda v: product(v[..., 0].contiguous())[..., None],
            steps,
            torch.float32,
            torch.device("cpu"),
            torch.Size([problem.batch, problem.d, problem.d]),
            batch_shape=torch.Size([problem.batch]),
            init_vecs=problem.start()[..., None],
        )
        return torch.linalg.eigvalsh(matrix.double())[:, 0]

    return solve


def _hessian_eigenthings(symmetrised: bool) -> Solve:
    def solve(problem: NoisyDensities, steps: int) -> Tensor:
        algorithms = pytest.importorskip("hessian_eigenthings.algorithms")
        operators = pytest.importorskip("hessian_eigenthings.operators")

        def one(i: int) -> Tensor:
            product = problem.item(i, symmetrised)
            operator = operators.LambdaOperator(lambda v: torch.from_numpy(product(v.numpy())), problem.d)
            return algorithms.lanczos(operator, k=1, max_iter=steps, which="SA", seed=0).eigenvalues[0]

        return torch.stack([one(i) for i in range(problem.batch)]).double()

    return solve


def _cola_operator(product: Callable[[Tensor], Tensor], d: int):
    cola = pytest.importorskip("cola")

    class Operator(cola.ops.LinearOperator):
        def _matmat(self, columns: Tensor) -> Tensor:
            return product(columns)

    return Operator(torch.float32, (d, d))


def _cola(problem: NoisyDensities, steps: int) -> Tensor:
    arnoldi = pytest.importorskip("cola.linalg.decompositions.arnoldi")
    start = problem.start()

    def one(i: int) -> Tensor:
        product = problem.item(i)
        operator = _cola_operator(lambda v: torch.from_numpy(product(v[:, 0].numpy()))[:, None], problem.d)
        values, _, _ = arnoldi.arnoldi_eigs(operator, start[i], max_iters=steps)
        return values.real.min()

    return torch.stack([one(i) for i in range(problem.batch)]).double()


def _cola_by_hand(problem: NoisyDensities, steps: int) -> Tensor:
    """One operator that gives each column its own Jacobian, and the Hessenberg matrices symmetrised by the caller."""
    arnoldi = pytest.importorskip("cola.linalg.decompositions.arnoldi")
    operator = _cola_operator(lambda v: problem.product(v.T.contiguous()).T, problem.d)
    init = arnoldi.init_arnoldi(operator.xnp, problem.start().T.contiguous(), steps, torch.float32)
    _, matrix, _, _ = arnoldi.arnoldi_fact(operator, init, steps, 1e-7, pbar=False)
    matrix = matrix[:, :steps].double()
    return torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[:, 0]


METHODS: dict[str, Method] = {
    "memdet krylov": Method(_memdet),
    "three-term Lanczos": Method(_three_term),
    "complex128 Arnoldi, eigenvalues of H": Method(_complex_arnoldi(False), looped=True),
    "complex128 Arnoldi, eigenvalues of (H + H^T) / 2": Method(_complex_arnoldi(True), looped=True),
    "scipy eigs": Method(_scipy("eigs", False), looped=True),
    "scipy eigsh": Method(_scipy("eigsh", False), looped=True),
    "scipy eigsh on (J + J^T) / 2": Method(_scipy("eigsh", True), transposed=True, looped=True),
    "linear_operator lanczos_tridiag": Method(_linear_operator(False)),
    "linear_operator lanczos_tridiag on (J + J^T) / 2": Method(_linear_operator(True), transposed=True),
    "hessian-eigenthings lanczos": Method(_hessian_eigenthings(False), looped=True),
    "hessian-eigenthings lanczos on (J + J^T) / 2": Method(_hessian_eigenthings(True), transposed=True, looped=True),
    "cola arnoldi": Method(_cola, looped=True),
    "cola arnoldi, items as columns, (H + H^T) / 2 by hand": Method(_cola_by_hand),
}
