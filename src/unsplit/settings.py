"""Settings declared once: a field of a configuration is also a key of a file of settings and an option of a command.

Loads nothing, so that the text of `--help` is made of the fields without loading torch.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

_NAMED = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")
_FIRST = re.compile(r"^[a-z_]+(?= (?:is|are) )")
_RENAMED = re.compile(r"\{'(\w+)': '(.*)'\}")


@dataclass(frozen=True)
class Reader:
    """How the value of a setting is written.

    Args:
        read: makes the value of what a file of settings holds, or of the text on a command line. Where it cannot, it
            raises ValueError with the end of a sentence that begins with the setting's name.
        takes: what an option of this kind takes, for the sentence about a text that is something else.
        option: type of the option as the command line parses it, before `read`.
        lazy: whether a default is written, too, and read when a configuration is made: reading it loads torch.
    """

    read: Callable[[Any], Any]
    takes: str = ""
    option: Any = str
    lazy: bool = False


def setting(default: object, text: str | None, reader: Reader, *, flag: str = "", **option: Any) -> Any:
    """A field of a configuration.

    Args:
        default: the value where none is given; as it is written, if the reader is lazy.
        text: what `--help` says of the option; None if there is no option.
        reader: how values are read from text and from YAML.
        flag: name of the option; that of the field if left out.
        option: what else the command line is told of the option: min, metavar, shown (the default that `--help` shows).
    """
    told = {"reader": reader, "text": text, "flag": flag, "option": option}
    if reader.lazy and default is not None:
        return field(default_factory=lambda: reader.read(default), metadata={**told, "default": default})
    return field(default=default, metadata=told)


def option_name(each: "Field[Any]") -> str:
    """Name of a field's option, with underscores."""
    return each.metadata["flag"] or each.name


def with_options(config: type) -> "Iterator[Field[Any]]":
    """The fields of a configuration that are options of its command."""
    return (each for each in fields(config) if each.metadata["text"] is not None)


def shown_default(each: "Field[Any]") -> Any:
    """A field's default as it is given on the command line; None for none."""
    told = each.metadata
    value = told["option"].get("shown", told.get("default", each.default))
    return (",".join(map(str, value)) or None) if isinstance(value, tuple) else value


def flag_of(name: str) -> str:
    """The option of a setting as it is typed."""
    return "--" + name.replace("_", "-")


def flags_of(config: type) -> dict[str, str]:
    """The options of a configuration's fields, as they are typed, by the fields' names."""
    return {each.name: flag_of(option_name(each)) for each in with_options(config)}


def in_options(sentence: str, flags: Mapping[str, str]) -> str:
    """A sentence that names settings, with options in their place.

    The library writes the name of a setting in marks, `image_size`, or with a value, `image_size=(64, 64)`; a sentence
    that begins with the name ("epochs is 0; ...") has it without marks.

    Args:
        sentence: the sentence of an error or a note.
        flags: options of the command, as they are typed, by the names of settings; other names stay as they are.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        renamed = _RENAMED.fullmatch(value or "")
        if name not in flags:
            return found[0]
        if renamed is not None:
            return f"{flag_of(renamed[1])} {renamed[2]}"
        return flags[name] if value is None else f"{flags[name]} {_typed(value, ':' if name == 'u_shape' else ',')}"

    sentence = _FIRST.sub(lambda found: flags.get(found[0], found[0]), sentence)
    return _NAMED.sub(option, sentence)


def _typed(value: str, separator: str) -> str:
    """A value in Python as it is typed on a command line: `('b', 'c')` as b,c; what a call reads, without the call."""
    parts = re.sub(r"^\w+(?=\()|[\[\]()'\"]", "", value).split(",")
    return separator.join(part.strip() for part in parts if part.strip())


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _parts(value: object, separator: str = ",") -> tuple[object, ...]:
    """The parts of a list, or of a text as on the command line; none of "none"."""
    if isinstance(value, str):
        texts = [] if value.strip().lower() in ("", "none") else [part.strip() for part in value.split(separator)]
        return tuple(int(part) if part.removeprefix("-").isdecimal() else part for part in texts)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _text(value: object) -> str:
    if isinstance(value, str | Path) or _whole(value):
        return str(value)
    raise ValueError(f"is {value!r}; give a text, in quotes")


def _number(value: object) -> object:
    if not _whole(value):
        raise ValueError(f"is {value!r}; give a whole number")
    return value


def _choice(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}; give true or false")
    return value


def _numbers(value: object) -> tuple[object, ...]:
    parts = _parts(value)
    if not all(_whole(part) for part in parts):
        raise ValueError(f"is {value!r}; give whole numbers, for example [1, 2]")
    return parts


def _names(value: object) -> tuple[object, ...]:
    parts = tuple(map(str, _parts(value))) if isinstance(value, str) else _parts(value)
    if not all(isinstance(part, str) for part in parts):
        raise ValueError(f"is {value!r}; give a name, or a list of them")
    return parts


def _cuts(value: object, separator: str = ",") -> tuple[object, ...]:
    parts = _parts(value, separator)
    if not all(isinstance(part, str) or _whole(part) for part in parts):
        raise ValueError(f"is {value!r}; give a name, or a list of them")
    return parts


def _cut_and_head(value: object) -> tuple[object, ...]:
    parts = _cuts(value, ":")
    if len(parts) != 2 or not isinstance(parts[1], int) or parts[1] < 0:
        raise ValueError(f"is {value!r}; give a cut and a head, for example [1, 1]")
    return parts


TEXT = Reader(_text)
NUMBER = Reader(_number, option=int)
CHOICE = Reader(_choice, option=bool)
NUMBERS = Reader(_numbers, "whole numbers with commas between them, for example 1,2,3")
NAMES = Reader(_names)
CUTS = Reader(_cuts)
CUT_AND_HEAD = Reader(_cut_and_head, "a cut and the layers of the head, for example 1:1")
