"""A table of a run as a Python object: rows, a data frame, and text in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from memdet.errors import UserError
from memdet.results.run import Run
from memdet.tables.comparison import compare_detectors, compare_runs
from memdet.tables.rows import Row, Rows, rows_of

if TYPE_CHECKING:
    import pandas as pd

Formats = Mapping[str, Callable[[Rows], str]]


class ResultTable(Sequence[Row]):
    """Rows of a table; ``run.table`` and ``run.compare(...)`` give one.

    ``table[0]`` is a row, ``table["auroc"]`` a column, ``len(table)`` the number of rows. Printed it is the table of
    the command line, in a notebook a data frame.

    Args:
        rows: Dictionaries with the same keys.
        formats: Texts of rows by name.
        again: Makes the table by strata.
    """

    def __init__(self, rows: Rows, formats: Formats, again: Callable[[], ResultTable] | None = None) -> None:
        self.rows = list(rows)
        self._formats, self._again = formats, again

    def __call__(self, *, by_stratum: bool = False) -> ResultTable:
        """The table itself, or one for each stratum of memorized items."""
        return self._again() if by_stratum and self._again is not None else self

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    @overload
    def __getitem__(self, index: str) -> pd.Series: ...
    def __getitem__(self, index: int | slice | str) -> Row | list[Row] | pd.Series:
        return self.to_pandas()[index] if isinstance(index, str) else self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """All fields as a data frame, a row each."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def to_text(self, form: str = "table") -> str:
        """The table as text.

        Args:
            form: As ``--format`` of the command line: ``table``, ``markdown``, ``csv``, ``json``, and of a run
                ``latex`` and ``model-index``.

        Raises:
            UserError: An unknown format.
        """
        if form not in self._formats:
            raise UserError(f"format {form!r} is not known: {', '.join(self._formats)}")
        return self._formats[form](self.rows)

    def __repr__(self) -> str:
        """The table of the command line."""
        return self.to_text() if self.rows else "an empty table"

    def _repr_html_(self) -> str:
        shown = self.to_pandas().dropna(axis="columns", how="all")
        text: str = shown.to_html(index=False, float_format=lambda value: f"{value:.3f}", max_rows=200)
        return text


def table_of(run: Run, *, by_stratum: bool = False) -> ResultTable:
    """The table of a run, see :func:`~memdet.tables.rows.rows_of`."""
    from memdet.tables.run_table import FORMATS

    again = None if by_stratum else lambda: table_of(run, by_stratum=True)
    return ResultTable(rows_of(run, by_stratum=by_stratum), FORMATS, again)


def comparison_of(
    run: Run, first: str | Run | None = None, second: str | None = None, *, by_stratum: bool = False
) -> ResultTable:
    """Paired tests of a run's detectors, or between two runs; see :meth:`memdet.results.Run.compare`.

    Raises:
        UserError: An unknown detector, or nothing can be compared.
    """
    from memdet.tables.comparison_text import FORMATS

    if isinstance(first, Run):
        if second is not None:
            raise UserError("between two runs every detector is compared with itself: leave out the second argument")
        return ResultTable(compare_runs(run, first, by_stratum=by_stratum), FORMATS)
    for given in (first, second):
        if given is not None and not isinstance(given, str):
            raise UserError(f"{given!r} is no label of a detector: give one, or another run as memdet.load_run(path)")
    if second is None:
        return ResultTable(compare_detectors(run, against=first, by_stratum=by_stratum), FORMATS)
    return ResultTable(compare_detectors(run, first=first, against=second, by_stratum=by_stratum), FORMATS)
