"""Steps of a training that need nothing from the host, and how a device runs many of them: on CUDA a graph for each
training and trainings side by side, elsewhere one eager step after another.
"""

from unsplit.stepping.execution import Repeated, Step, repeated
from unsplit.stepping.timetable import Timetable, adam
from unsplit.stepping.turns import Ended, Work, perform, side_by_side, together

__all__ = ["Ended", "Repeated", "Step", "Timetable", "Work", "adam", "perform", "repeated", "side_by_side", "together"]
