"""Headers of many messages, in little memory: some ten bytes each, where an object of its own takes hundreds."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from unsplit.types._message import Header, Kind

Route = tuple[str, str, Kind]


class Headers(Sequence[Header]):
    """Headers in order, kept as columns; a `Header` is made when it is asked for.

    Args:
        headers: the headers to begin with.
    """

    def __init__(self, headers: Iterable[Header] = ()) -> None:
        self._steps = array("q")
        self._ways = array("l")
        self._numbers: dict[Route, int] = {}
        self._routes: list[Route] = []
        self.extend(headers)

    def extend(self, headers: Iterable[Header]) -> None:
        """Add headers at the end."""
        for step, sender, receiver, kind in headers:
            self._steps.append(step)
            self._ways.append(self._number((sender, receiver, kind)))

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Header]:
        for step, way in zip(self._steps, self._ways, strict=True):
            yield Header(step, *self._routes[way])

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Header]: ...
    def __getitem__(self, index: int | slice) -> Header | Sequence[Header]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return Header(self._steps[index], *self._routes[self._ways[index]])

    def _number(self, route: Route) -> int:
        if route not in self._numbers:
            self._numbers[route] = len(self._routes)
            self._routes.append(route)
        return self._numbers[route]


class ChosenHeaders(Sequence[Header]):
    """Some of a sequence's headers, by their places in it."""

    def __init__(self, headers: Sequence[Header], places: Sequence[int]) -> None:
        self._headers, self._places = headers, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Header]:
        return map(self._headers.__getitem__, self._places)

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Header]: ...
    def __getitem__(self, index: int | slice) -> Header | Sequence[Header]:
        if isinstance(index, slice):
            return ChosenHeaders(self._headers, self._places[index])
        return self._headers[self._places[index]]
