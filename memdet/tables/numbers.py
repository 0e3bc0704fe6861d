"""Numbers as tables print them. What is undefined, None or NaN, is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

UNDEFINED = "-"


def defined(value: float) -> float | None:
    """The number, or None where it is not finite, which JSON cannot say."""
    return None if not math.isfinite(value) else float(value)


def number(value: float | None, *, sign: bool = False, places: int = 3) -> str:
    """Three places without a leading zero.

    Args:
        value: AUROC, rate, difference of these.
        sign: A plus before what is not negative.
        places: After the point.

    Example:
        >>> number(0.973), number(0.12, sign=True), number(1.0), number(0.98765, places=4), number(None)
        ('.973', '+.120', '1.000', '.9877', '-')
    """
    if value is None or math.isnan(value):
        return UNDEFINED
    text = f"{value:{'+' if sign else ''}.{places}f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def signed(value: float) -> str:
    """A difference with its sign; one that rounds to nothing has none.

    Example:
        >>> signed(0.12), signed(-0.0001)
        ('+.120', '.000')
    """
    return number(value, sign=True) if round(value, 3) else ".000"


def short(value: float | None) -> str:
    """Two significant digits without a leading zero.

    Example:
        >>> short(0.0045), short(1.0), short(1.234e-7), short(None)
        ('.0045', '1', '1.2e-07', '-')
    """
    return UNDEFINED if value is None else f"{value:.2g}".removeprefix("0") or "0"


def p_value(value: float) -> str:
    """A p-value: three places, and no more than that of a small one."""
    return "< .001" if value < 0.0005 else number(value)


def bounded(text: str, low: float | None, high: float | None, form: Callable[[float], str] = number) -> str:
    """A number with its bounds in brackets, where these are defined.

    Args:
        text: The number, as it is printed.
        low, high: Its bounds.
        form: How to print them.

    Example:
        >>> bounded(number(0.97), 0.95, 0.99), bounded(number(0.97), None, None)
        ('.970 [.950, .990]', '.970')
    """
    return text if low is None or high is None else f"{text} [{form(low)}, {form(high)}]"


def interval(row: Mapping[str, Any], name: str, *, sign: bool = False) -> str:
    """Number and bounds of a row: of the keys ``name``, ``name_low`` and ``name_high``."""
    return bounded(number(row[name], sign=sign), row[f"{name}_low"], row[f"{name}_high"])


def count(value: float) -> str:
    """How many, which need not be whole.

    Example:
        >>> count(40.0), count(2.504)
        ('40', '2.5')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")


def undrawn_pictures(n: int) -> str:
    """What to say of pictures that are missing, for a sentence.

    Example:
        >>> undrawn_pictures(2)
        '2 pictures could not be drawn: pixels are not finite numbers'
    """
    return f"{counted(n, 'picture')} could not be drawn: pixels are not finite numbers"


def counted(n: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "noise seed"), counted(4, "noise seed")
        ('1 noise seed', '4 noise seeds')
    """
    return f"{n} {noun}" + ("" if n == 1 else "s")


def quantity(value: float, *, aligned: bool = False) -> str:
    """A rate, time or size: three digits or more, from 100 on without an exponent.

    Args:
        value: Not negative.
        aligned: Zeros at the end stay.

    Example:
        >>> quantity(0.8), quantity(12.8), quantity(1_146.2), quantity(12.8, aligned=True)
        ('0.8', '12.8', '1,146', '12.80')
    """
    if value >= 100:
        return f"{value:,.0f}"
    if aligned:
        return f"{value:.2f}" if value >= 10 else f"{value:.3f}"
    return f"{value:.3g}"


def power(value: float | None, places: int = 0) -> str:
    """An error or a drift, by its power of ten.

    Example:
        >>> power(0.00213), power(0.00213, 1), power(0.0)
        ('2e-03', '2.1e-03', '0')
    """
    return UNDEFINED if value is None else "0" if value == 0 else f"{value:.{places}e}"


def percent(share: float, places: int | None = None) -> str:
    """A share in percent.

    Args:
        share: 1 is all.
        places: After the point; None takes two significant digits.

    Example:
        >>> percent(0.0099), percent(0.9987, 1)
        ('0.99 %', '99.9 %')
    """
    return f"{float(f'{100 * share:.2g}'):g} %" if places is None else f"{100 * share:.{places}f} %"
