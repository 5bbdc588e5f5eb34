"""Gates to test with, and what comes out of them."""

from __future__ import annotations

import json
import re
from typing import Any

from samples import END_MARK, SAMPLES
from sseguard.codings import Decoder, Encoder
from sseguard.dialects import Dialect
from sseguard.gate import Action, Call, End, Gate, Limits, Refuse, Relay
from sseguard.verdicts import Verdict

SAMPLE = SAMPLES[Dialect.CHAT]
ANSWER = SAMPLE.preamble + SAMPLE.answer + SAMPLE.finish + END_MARK
CALL = Call(Dialect.CHAT, model="vendor/model", host="openrouter.ai")


def gate(dialect: Dialect = Dialect.CHAT, coding: str = "", **limits: Any) -> Gate:
    """A gate whose headers have come one second after the request."""
    it = Gate(Call(dialect, "vendor/model", "openrouter.ai"), Limits(**limits), now=100.0)
    it.opened(Decoder(coding), 101.0, request_id="gen-1")
    return it


def feed(it: Gate, *chunks: bytes, now: float = 102.0) -> list[Action]:
    return [action for chunk in chunks for action in it.feed(chunk, now)]


def refused(actions: list[Action]) -> Verdict:
    [action] = actions
    assert isinstance(action, Refuse)
    return action.failure.verdict


def told(actions: list[Action]) -> tuple[bytes, Any]:
    """The bytes before the error frame, and the error in it."""
    [action] = actions
    assert isinstance(action, End)
    before, frame = re.split(rb"(?:^event: error\n)?^data: (?=[^\n]+\n\n\Z)", action.data, flags=re.MULTILINE)
    return before, json.loads(frame)["error"]


def reason(actions: list[Action]) -> str:
    return str(told(actions)[1]["metadata"]["reason"])


def relayed(actions: list[Action]) -> bytes:
    return b"".join(action.data for action in actions if isinstance(action, Relay | End))


def pack(coding: str, *frames: bytes) -> list[bytes]:
    """Each frame compressed and flushed, and the end of the body."""
    packer = Encoder(coding)
    return [*map(packer.feed, frames), packer.finish()]


# --- compressed bodies ---
