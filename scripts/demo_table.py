"""Examples, what came of them, and the table that shows it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sseguard.recordings.fixture import SUFFIX
from sseguard.recordings.recording import Recording
from sseguard.verdicts import Verdict

if TYPE_CHECKING:
    from demo_clients import Outcome

#: How the file names of examples begin, with the API and the package that is its SDK.
APIS = {
    "chat": ("Chat completions", "openai"),
    "completions": ("Legacy completions", "openai"),
    "responses": ("Responses", "openai"),
    "anthropic": ("Messages", "anthropic"),
    "gemini": ("generateContent", "google-genai"),
}

#: How long a client waits for the next bytes, in seconds; one that is to leave is less patient.
PATIENCE = 5.0
LITTLE_PATIENCE = 1.5

#: The status of a failure before the answer; 502 if not here.
STATUS = {Verdict.TIMED_OUT: 504, Verdict.MISROUTED: 400}

#: Columns of a terminal.
WIDTHS = range(100, 121)
USUAL_WIDTH = 118
LAST_COLUMN = 44


@dataclass(frozen=True, slots=True)
class Example:
    """A recording named `api-verdict` or `api-verdict-variant`.

    Attributes:
        api: a key of `APIS`.
        verdict: what the guard is to find.
        variant: what is special about it, or empty; for a `provider_error` it begins with the status.
        model: what the recorded request asks for; each example has its own.
        recording: the file.
    """

    api: str
    verdict: Verdict
    variant: str
    model: str
    recording: Recording

    @classmethod
    def read(cls, recording: Recording) -> Example:
        """Take the name of the file apart."""
        api, verdict, *variant = Path(recording.name).name.removesuffix(SUFFIX).split("-", 2)
        model = model_in(recording.request.url, recording.request.body)
        return cls(api, Verdict(verdict), "".join(variant), model, recording)

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.api}-{self.scenario}"

    @property
    def scenario(self) -> str:
        """The name without the API."""
        return f"{self.verdict}-{self.variant}" if self.variant else str(self.verdict)

    @property
    def status(self) -> int:
        """The HTTP status that the guard is to give a failure before the answer."""
        if self.verdict is Verdict.PROVIDER_ERROR:
            return int(self.variant.partition("-")[0])
        return STATUS.get(self.verdict, 502)

    @property
    def patience(self) -> float:
        """How long the client waits for the next bytes, in seconds."""
        return LITTLE_PATIENCE if self.verdict is Verdict.CLIENT_LEFT else PATIENCE

    @property
    def order(self) -> tuple[int, int, str]:
        """Its place in the table."""
        return list(APIS).index(self.api), list(Verdict).index(self.verdict), self.variant


def model_in(url: str, body: object) -> str:
    """The model that a request asks for, in its body or, as Gemini does, in its path."""
    in_path = url.partition("/models/")[2].partition(":")[0]
    return str(body["model"]) if isinstance(body, dict) and "model" in body else in_path


@dataclass(frozen=True, slots=True)
class Row:
    """What came of an example.

    Attributes:
        example: what was played.
        without, guarded: what a client got from the plain proxy, and from the guarded one.
        logged: the verdict in the guard's own log.
        reached: how many of the two requests came to the provider.
    """

    example: Example
    without: Outcome
    guarded: Outcome
    logged: str
    reached: int

    @property
    def is_same(self) -> bool:
        """Whether the guard changed nothing for the client."""
        return str(self.without) == str(self.guarded)

    @property
    def looks_like_success(self) -> tuple[bool, bool]:
        """Whether a failure looks like success to the client: without the guard, with it."""
        failed = self.example.verdict is not Verdict.ANSWERED
        return failed and self.without.error is None, failed and self.guarded.error is None

    @property
    def is_as_promised(self) -> bool:
        """Whether the guard came to the right verdict, and the client got what belongs to it."""
        reached = 1 if self.example.verdict is Verdict.MISROUTED else 2
        return self.logged == self.example.verdict and self.reached == reached and self._client_is_told()

    def _client_is_told(self) -> bool:
        got, verdict = self.guarded, self.example.verdict
        match verdict:
            case Verdict.ANSWERED:
                return self.is_same and got.text != "" and got.error is None
            case Verdict.PROVIDER_ERROR_LATE | Verdict.TRUNCATED:
                return self.is_same and got.text != ""
            case Verdict.CLIENT_LEFT:
                return got.gave_up
            case Verdict.CUT_LATE | Verdict.TIMED_OUT_LATE:
                # Nothing can be put into a compressed body: it breaks off, as it did upstream.
                told = got.error is not None if "gzip" in self.example.variant else got.reason == verdict
                return told and got.text != ""
            case _:
                return got.reason == verdict and got.status == self.example.status and got.text == ""


class Table:
    """Prints rows as they come, in columns that fit the terminal."""

    def __init__(self, examples: Iterable[Example], out: IO[str]) -> None:
        width = shutil.get_terminal_size((USUAL_WIDTH, 0)).columns
        width = min(max(width, WIDTHS[0]), WIDTHS[-1])
        first = max(len(example.scenario) for example in examples) + 4
        self._widths = (first, width - first - LAST_COLUMN - 2, LAST_COLUMN)
        self._color = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._api = ""
        self._out = out
        self._line("", "scenario", "", "without the guard", "", "with the guard")
        self._print("─" * width)

    def add(self, row: Row) -> None:
        """Print one row, and below it what is wrong with it."""
        example = row.example
        if example.api != self._api:
            self._api = example.api
            self._print(self._paint("1", "{} ({})".format(*APIS[example.api])))
        guarded = "the same" if row.is_same else str(row.guarded)
        if example.verdict is Verdict.TRUNCATED:
            guarded += ", flagged in the log"
        mild, good = ("33" if row.looks_like_success[0] else ""), ("32" if row.is_as_promised else "31")
        self._line("", f"  {example.scenario}", mild, str(row.without), good, guarded)
        if not row.is_as_promised:
            expected = f"{example.verdict}, with status {example.status} if it is told before the answer"
            got = f"{row.logged or 'nothing'} in the log and {row.reached} requests at the provider"
            self._print(self._paint("31", f"    Expected {expected}; got {got}, and: {row.guarded}"))

    def _line(self, *cells: str) -> None:
        """Three cells, each as color and text."""
        fitted = (fitted_to(width, text) for width, text in zip(self._widths, cells[1::2], strict=True))
        first, middle, last = map(self._paint, cells[::2], fitted)
        self._print(f"{first}{middle}  {last}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[m" if self._color and code else text

    def _print(self, line: str) -> None:
        print(line.rstrip(), file=self._out, flush=True)


def fitted_to(width: int, text: str) -> str:
    """`text` cut or filled to `width` columns of a terminal, with nothing in it that a terminal would obey."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    if columns(shown) > width:
        while columns(shown) >= width:
            shown = shown[:-1]
        shown += "…"
    return shown + " " * (width - columns(shown))


def columns(text: str) -> int:
    """How wide `text` is on a terminal: East Asian characters and emoji take two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
