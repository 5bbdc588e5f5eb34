"""The books: what was sent, what clients were told, what the guard logged and what it recorded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sseguard.recordings.fixture import SUFFIX
from sseguard.verdicts import Verdict

from .streams import Stream, number_in

#: A reset may overtake what was sent before it: what the client got says which of these two it was.
_CUTS = (Verdict.CUT, Verdict.CUT_LATE)

#: Whether these leave recordings is chance, or no: a client may leave before headers come, and a block asks nobody.
_MAY_LACK_RECORDINGS = (Verdict.CLIENT_LEFT, Verdict.MISROUTED)

_VERDICTS = frozenset(map(str, Verdict))


@dataclass(slots=True)
class Ledger:
    """Counts by verdict, and `faults` in words. The log is in `log`, recordings in `folder`; both are read away."""

    log: Path
    folder: Path
    sent: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    recorded: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    #: By number of the exchange: its stream and the verdict that is to be in the log, and the one that is.
    _awaited: dict[int, tuple[str, str]] = field(default_factory=dict)
    _found: dict[int, str] = field(default_factory=dict)

    def enter(self, number: int, stream: Stream, told: str) -> None:
        """An exchange is over for its client."""
        expected = told if stream.is_reset and stream.verdict in _CUTS and told in _CUTS else stream.verdict
        self.sent[expected] += 1
        self.told[told] += 1
        self._awaited[number] = (stream.name, expected)
        if told != expected:
            self.faults.append(f"{stream.name}: expected {expected}, got {told} at the client.")

    def read(self) -> None:
        """Take over what has been logged and recorded so far. Call it a moment later again: it may be under way."""
        self._read_log()
        for path in self.folder.glob(f"*{SUFFIX}"):
            label = path.name.removesuffix(SUFFIX).rpartition("-")[2]
            if label == "unfinished":
                continue
            self.recorded[label] += 1
            if label not in _VERDICTS:
                self.faults.append(f"{path.name}: expected a verdict in the name.")
            path.unlink()

    @property
    def is_complete(self) -> bool:
        """Whether all that can be expected has been logged and recorded."""
        certain = (verdict for verdict in self.sent if verdict not in _MAY_LACK_RECORDINGS)
        return not self._awaited and all(self.recorded[verdict] >= self.sent[verdict] for verdict in certain)

    def close(self) -> None:
        """Nothing more comes: say what is missing, and what is too much."""
        self.faults += [
            f"{name}, exchange {number}: expected {verdict} in the log, got nothing."
            for number, (name, verdict) in self._awaited.items()
        ]
        self.faults += [
            f"exchange {number}: expected one line in the log, got {verdict} too."
            for number, verdict in self._found.items()
        ]
        for verdict in sorted(self.sent.keys() | self.recorded.keys()):
            sent, recorded = self.sent[verdict], self.recorded[verdict]
            if recorded > sent or (recorded < sent and verdict not in _MAY_LACK_RECORDINGS):
                self.faults.append(f"{verdict}: expected {sent} recordings, got {recorded}.")

    def _read_log(self) -> None:
        """What was put aside the last time is complete now; what has come since is put aside."""
        aside = self.log.with_suffix(".aside")
        if aside.exists():
            for line in aside.read_text("utf-8").splitlines():
                entry = json.loads(line)
                self.logged[entry["verdict"]] += 1
                self._match(number_in(entry["path"]), entry["verdict"])
            aside.unlink()
        if self.log.exists():
            self.log.rename(aside)
        for number in [number for number in self._found if number in self._awaited]:
            self._compare(number, self._found.pop(number))

    def _match(self, number: int, verdict: str) -> None:
        if number in self._awaited:
            self._compare(number, verdict)
        elif number in self._found:
            self.faults.append(f"exchange {number}: expected one line in the log, got {verdict} too.")
        else:
            self._found[number] = verdict  # its client is still reading

    def _compare(self, number: int, verdict: str) -> None:
        name, expected = self._awaited.pop(number)
        if verdict != expected:
            self.faults.append(f"{name}, exchange {number}: expected {expected} in the log, got {verdict}.")
