"""The condition of a model: columns that the decoder reads beside the code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..data.blocks import BlockReader
from ..data.types import Name
from ..errors import InvalidData
from .input import InputSpec, Opened

__all__ = ["Condition"]


@dataclass(frozen=True, eq=False)
class Condition:
    """The features of encoded rows that are a condition; none: the model has no condition."""

    input: InputSpec
    features: tuple[int, ...]

    @classmethod
    def of(cls, columns: InputSpec, names: Iterable[Name]) -> Condition:
        """Return the condition of these columns.

        Raises
        ------
        InvalidData
            If there is no such column, or no other column.
        """
        chosen = {columns.labels[place] for place in columns.places_of([*names])}
        if not 0 < len(chosen) < columns.n_features:
            raise InvalidData(f"The condition must be some of the {columns.n_features} columns, and not all of them.")
        return cls(columns, tuple(at for at in range(columns.width) if columns.name_of(at) in chosen))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(dict.fromkeys(str(self.input.name_of(at)) for at in self.features))

    def require(self, rows: np.ndarray, first: int = 0) -> None:
        """Check that all cells of the condition are known.

        Raises
        ------
        InvalidData
            If a cell is missing, or holds a category that the model does not know.
        """
        if not self.features:
            return
        cells = rows[:, list(self.features)]
        # A category that is not listed is encoded by the last feature of its column.
        holes = np.isnan(cells) | (cells * self._is_unlisted[list(self.features)] > 0)
        if holes.any():
            row, at = np.argwhere(holes)[0]
            raise InvalidData(
                f"Column {self.input.name_of(self.features[at])}, which is a condition, is empty or has an unknown "
                f"category in row {first + row + 1}. Give one of the values of the training rows."
            )

    def require_all(self, given: Opened) -> None:
        """Check the rows of a fit, as `require`."""
        first = 0
        for rows in given.rows.iter_chunks() if isinstance(given.rows, BlockReader) else [given.rows]:
            self.require(rows, first)
            first += len(rows)

    @property
    def _is_unlisted(self) -> np.ndarray:
        """(width,), whether each feature stands for the categories that the schema does not list."""
        found, schema = np.zeros(self.input.width, bool), self.input.schema
        if schema is not None:
            found[[schema.column_slices[c.name].stop - 1 for c in schema.used if c.kind == "category"]] = True
        return found
