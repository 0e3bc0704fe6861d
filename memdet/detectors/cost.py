"""Reads the cost that a detector declares, e.g. ``2 steps F + probes JVP``."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from memdet.detectors.configured import Configured
from memdet.errors import UserError

UNITS = ("F", "JVP", "VJP")


def cost_of(detector: Configured, timesteps: Sequence[int]) -> dict[str, float]:
    """Evaluate the declared cost of a detector with its options.

    An option that is None counts as the steps of the trajectory; ``t`` is the first timestep then.

    Args:
        detector: Or whatever declares a cost, configured.
        timesteps: Of the protocol's trajectory, first to last.

    Returns:
        Evaluations by unit.

    Example:
        >>> from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
        >>> cost_of(ScoreDifferenceNorm(steps=5), range(981, 0, -20))
        {'F': 10.0, 'JVP': 0.0, 'VJP': 0.0}
    """
    options = {name: getattr(detector, name) for name in detector.option_types()}
    numbers = {name: value for name, value in options.items() if isinstance(value, int | float)}
    numbers = {name: len(timesteps) for name, value in options.items() if value is None and name != "t"} | numbers
    t = numbers.get("t", timesteps[0])
    to_t = min(range(len(timesteps)), key=lambda index: abs(timesteps[index] - t))
    return declared_cost(detector.info.cost, numbers | {"T": len(timesteps), "to_t": to_t})


def declared_cost(formula: str, names: Mapping[str, float]) -> dict[str, float]:
    """Evaluate a declared cost.

    Args:
        formula: Sum of products, each with its unit: F (forward of one item and branch), JVP or VJP; ``none`` is
            nothing. Factors are numbers, names, quotients, and sums in parentheses. A remark in parentheses after the
            last unit is left out.
        names: Values of the names: the detector's options, ``T`` for the steps of the protocol's trajectory, and
            ``to_t`` for those that lead to ``t``.

    Returns:
        Evaluations by unit.

    Raises:
        UserError: Not such a formula, or an unknown name.

    Example:
        >>> declared_cost("2 (step + 1) F + probes JVP (less with shared noise)", {"step": 3, "probes": 4})
        {'F': 8.0, 'JVP': 4.0, 'VJP': 0.0}
    """
    cost = dict.fromkeys(UNITS, 0.0)
    if formula.strip() == "none":
        return cost
    plain = _without_remark(formula)
    terms = re.findall(r"(.*?)\b(F|JVP|VJP)\b", plain)
    if not terms or not re.search(r"\b(F|JVP|VJP)\s*$", plain):
        raise UserError(f"cost {formula!r}: write a sum of terms that end in F, JVP or VJP, or none")
    for factors, unit in terms:
        product = re.sub(r"(?<=[\w)])\s+(?=[\w(])", " * ", factors.strip().lstrip("+").strip() or "1")
        try:
            cost[unit] += _value(ast.parse(product, mode="eval").body, names)
        except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            raise UserError(f"cost {formula[:200]!r}: {factors.strip()[:200]!r} cannot be read: {error}") from None
    return cost


def named_options(formula: str) -> set[str]:
    """Names that a declared cost depends on.

    Example:
        >>> sorted(named_options("2 steps F + probes JVP (less with shared noise)"))
        ['probes', 'steps']
    """
    return set(re.findall(r"[a-z_]\w*", _without_remark(formula)))


def _without_remark(formula: str) -> str:
    return re.sub(r"\([^()]*\)\s*$", "", formula)


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in names:
            return float(names[name])
        case ast.Name(id=name):
            raise ValueError(f"{name} is no option; known: {', '.join(names)}")
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, names) + _value(right, names)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left, names) - _value(right, names)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left, names) * _value(right, names)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _value(left, names) / _value(right, names)
    raise ValueError("sums, products and quotients of numbers and options alone")
