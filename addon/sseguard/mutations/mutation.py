"""What a mutation is: a function on recordings, and the specification by which it is named, read and described."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from sseguard.recordings.recording import Recording, shown
from sseguard.verdicts import Verdict

from .surgery import MutationError

if TYPE_CHECKING:
    from collections.abc import Callable

Mutation: TypeAlias = "Callable[[Recording], Recording]"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One part of a mutation's argument.

    Attributes:
        name: of the function's parameter.
        form: how it is shown, such as `N`.
        pattern: what it looks like, for `re.fullmatch`.
        read: its value; only given what matches `pattern`.
        expected: what it is, for messages.
        required: whether it must be given.
    """

    name: str
    form: str
    pattern: str
    read: Callable[[str], object]
    expected: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Spec:
    """One mutation.

    Attributes:
        name: as on the command line.
        function: does it; takes a recording, and the parameters by their names.
        help: one line for a person.
        verdicts: what the guard can make of a healthy recording after it.
        parameters: parts of the argument, divided by colons.
    """

    name: str
    function: Callable[..., Recording]
    help: str
    verdicts: tuple[Verdict, ...]
    parameters: tuple[Parameter, ...] = ()

    @property
    def form(self) -> str:
        """What the argument looks like, such as `SECONDS[:N]`; optional parts in brackets, empty if there is none."""
        text = ""
        for parameter in reversed(self.parameters):
            first = parameter is self.parameters[0]
            text = ("" if first else ":") + parameter.form + text
            text = text if parameter.required else f"[{text}]"
        return text

    @property
    def needs_argument(self) -> bool:
        """Whether it makes no sense without one."""
        return any(parameter.required for parameter in self.parameters)

    def build(self, argument: str | None = None) -> Mutation:
        """The mutation with its argument read. Raises `MutationError` if it is not of this form."""
        parts = [] if argument is None else argument.split(":", max(len(self.parameters) - 1, 0))
        if len(parts) > len(self.parameters):
            raise MutationError(f"Expected {self.name} without an argument, got {shown(argument)}.")
        if not parts and self.needs_argument:
            raise MutationError(f"Expected {self.name}={self.form}, got no argument.")
        values = {p.name: self._read(p, part) for p, part in zip(self.parameters, parts, strict=False)}
        return partial(self.function, **values)

    def _read(self, parameter: Parameter, text: str) -> object:
        if not re.fullmatch(parameter.pattern, text):
            raise MutationError(
                f"Expected {self.name}={self.form} with {parameter.expected} for {parameter.form}, got {shown(text)}."
            )
        return parameter.read(text)
