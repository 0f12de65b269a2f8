"""Neighbour matching for the frames of a film."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf.kernels import nearest
from nst_tf.losses.neighbours import Neighbours

Carry = Callable[[np.ndarray], np.ndarray]
"""Returns the matches of a frame, int64 `(rows, columns)`, moved to the next frame; -1 where a
match is to be searched."""
_Rows = tuple[np.ndarray, dict[str, np.ndarray]]  # Numbers of cells, and their activations.


class CarriedNeighbours(Neighbours):
    """`Neighbours` that keeps the matches of a frame for the next one.

    Where the optical flow holds, a place keeps its match, its piece of the style. Only the other
    places are searched, and what is known of the style is not computed anew. An instance serves the
    frames of one shot, at the same sizes, with the same styles. Call `begin` before each frame.

    Attributes:
        matches: the matches of the last frame, for each level and region in turn, as `Carry` has
            them.
    """

    matches: Sequence[np.ndarray] = ()
    _carry: Carry | None = None
    _before: Sequence[np.ndarray] = ()
    _rows_before: Sequence[_Rows] = ()
    _rows_now: Sequence[_Rows] = ()
    _known: Mapping[int, nearest.Choices] = types.MappingProxyType({})

    def begin(self, carry: Carry | None) -> None:
        """Begins a frame.

        Args:
            carry: moves `matches` to this frame; None to search all places.
        """
        self._carry = carry
        self._before, self.matches = self.matches, []
        self._rows_before, self._rows_now = self._rows_now, []

    def _matches(self, sought: Any, palette: Any) -> np.ndarray:
        found, place = np.full(sought.inside.shape, -1), len(self.matches)
        if self._carry and place < len(self._before):
            found = np.where(sought.inside, self._carry(self._before[place]), -1)
        wanted = sought.inside & (found < 0)
        if wanted.any():
            found[wanted] = self._searched(sought, palette, wanted)
        self.matches = [*self.matches, found]
        return found[sought.inside]

    def _choices(self, palette: Any, searches: int) -> nearest.Choices:
        place = len(self.matches)
        if place not in self._known:
            self._known = {**self._known, place: super()._choices(palette, searches)}
        return self._known[place]

    def _rows(self, palette: Any, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the activations at chosen cells; those of the last frame are kept."""
        empty: _Rows = (np.zeros(0, np.int64), {})
        place = len(self._rows_now)
        numbers, kept = self._rows_before[place] if place < len(self._rows_before) else empty
        known = np.isin(chosen, numbers)
        fresh = {} if known.all() else palette.rows(chosen[~known])
        found = {}
        for layer in kept or fresh:
            like = fresh[layer] if fresh else kept[layer]
            found[layer] = np.empty((len(chosen), *like.shape[1:]), np.float32)
            if known.any():
                found[layer][known] = kept[layer][np.searchsorted(numbers, chosen[known])]
            if fresh:
                found[layer][~known] = fresh[layer]
        copies = {layer: each.copy() for layer, each in found.items()}  # `_table` uses them on.
        self._rows_now = [*self._rows_now, (chosen, copies)]
        return found
