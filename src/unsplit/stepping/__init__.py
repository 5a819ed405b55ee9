"""Steps of a training that need nothing from the host: what changes from step to step lies on the device."""

from unsplit.stepping.timetable import Timetable

__all__ = ["Timetable"]
