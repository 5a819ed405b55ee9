"""Sizes that depend on the batch: what `x.shape[0]` is while a network is recorded."""

from typing import Any

SAMPLES = (3, 5)
"""The sizes of the two batches that a network is recorded on."""


class TraceError(Exception):
    """What a network does that cannot be recorded; the message completes "it ..."."""


class Batch(int):
    """The size `times * n + plus` where n samples are at hand; as a number, what it is for the first sample batch.

    Sums and products with whole numbers stay such sizes. It has no hash, as a size that is a symbol has none.
    """

    times: int
    plus: int

    def __new__(cls, times: int, plus: int = 0) -> "Batch":
        self = super().__new__(cls, times * SAMPLES[0] + plus)
        self.times, self.plus = times, plus
        return self

    def at(self, samples: int) -> int:
        """The size where a batch has so many samples."""
        return self.times * samples + self.plus

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        times, plus = _terms(other)
        return _size(self.times + times, self.plus + plus)

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        times, plus = _terms(other)
        if times:
            raise TraceError("multiplies the size of the batch by itself")
        return _size(self.times * plus, self.plus * plus)

    def __floordiv__(self, other: Any) -> Any:
        times, plus = _terms(other)
        if not times and plus and self.times % plus == self.plus % plus == 0:
            return _size(self.times // plus, self.plus // plus)
        return _same([self.at(samples) // _at(other, samples) for samples in SAMPLES])

    def __rfloordiv__(self, other: Any) -> Any:
        return _same([other // self.at(samples) for samples in SAMPLES])

    def __mod__(self, other: Any) -> Any:
        return _same([self.at(samples) % _at(other, samples) for samples in SAMPLES])

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __neg__(self) -> Any:
        return _size(-self.times, -self.plus)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and bool(_same([self.at(at) == _at(other, at) for at in SAMPLES]))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> Any:
        return _same([self.at(samples) < _at(other, samples) for samples in SAMPLES])

    def __le__(self, other: Any) -> Any:
        return _same([self.at(samples) <= _at(other, samples) for samples in SAMPLES])

    def __gt__(self, other: Any) -> Any:
        return not self <= other

    def __ge__(self, other: Any) -> Any:
        return not self < other

    __radd__ = __add__
    __rmul__ = __mul__
    __truediv__ = __floordiv__
    __rtruediv__ = __rfloordiv__
    __hash__ = None  # type: ignore[assignment]


class Shape(tuple[Any, ...]):
    """A tensor's shape, in which sizes may be `Batch`."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        count = 1
        for size in self:
            count = size * count
        return count


def merged(first: Any, second: Any) -> Any:
    """What a question about a tensor is answered, from the answers for both sample batches.

    Raises:
        TraceError: the answer depends on more than the batch's size.
    """
    if isinstance(first, tuple | list) and isinstance(second, tuple | list) and len(first) == len(second):
        answers = [merged(mine, other) for mine, other in zip(first, second, strict=True)]
        return answers if isinstance(first, list) else Shape(answers)
    if type(first) is int and type(second) is int and first != second:
        times, rest = divmod(second - first, SAMPLES[1] - SAMPLES[0])
        if not rest:
            return Batch(times, first - times * SAMPLES[0])
    return _same([first, second])


def _terms(number: Any) -> tuple[int, Any]:
    return (number.times, number.plus) if isinstance(number, Batch) else (0, number)


def _at(number: Any, samples: int) -> Any:
    return number.at(samples) if isinstance(number, Batch) else number


def _size(times: int, plus: int) -> int:
    return Batch(times, plus) if times else plus


def _same(answers: list[Any]) -> Any:
    if answers[0] != answers[1]:
        raise TraceError("decides by how large the batch is")
    return answers[0]
