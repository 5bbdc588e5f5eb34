"""The vocabulary: how a guarded exchange can end, and the status and words that go with it."""

from __future__ import annotations

import enum


class Verdict(enum.StrEnum):
    """How a guarded exchange ended. The value is what users see, in headers, bodies, logs and metadata."""

    #: An answer frame came, and an end mark.
    ANSWERED = "answered"
    #: The body ended with no event and no comment.
    EMPTY = "empty"
    #: Only comments, pings and events without data.
    HEARTBEATS_ONLY = "heartbeats_only"
    #: `[DONE]` with no answer before it.
    DONE_ONLY = "done_only"
    #: Only lifecycle frames.
    PREAMBLE_ONLY = "preamble_only"
    #: Data that is not JSON, or a body that is no event stream.
    MALFORMED = "malformed"
    #: Upstream broke before an answer, or could not be reached.
    CUT = "cut"
    #: No answer frame within `sse_answer_timeout`.
    TIMED_OUT = "timed_out"
    #: The first meaningful frame is an error object.
    PROVIDER_ERROR = "provider_error"
    #: An error frame after the answer began.
    PROVIDER_ERROR_LATE = "provider_error_late"
    #: Upstream broke after the answer began.
    CUT_LATE = "cut_late"
    #: Silence for `sse_idle_timeout` after the answer began.
    TIMED_OUT_LATE = "timed_out_late"
    #: A clean end without a finish reason, terminal event or `[DONE]`.
    TRUNCATED = "truncated"
    #: The client went away.
    CLIENT_LEFT = "client_left"
    #: A slash model on a native route; upstream was never contacted.
    MISROUTED = "misrouted"

    @property
    def is_good(self) -> bool:
        """Whether the client got what it asked for."""
        return self is Verdict.ANSWERED


_AGAIN = "Send the request again; if this keeps happening, try another model or provider."

#: What happened and what to do, for the person who reads the error.
_MESSAGES = {
    Verdict.EMPTY: f"The provider accepted the request and then ended its answer without sending anything. {_AGAIN}",
    Verdict.HEARTBEATS_ONLY: (
        "The provider kept the connection alive and then ended it without sending any part of an answer. " + _AGAIN
    ),
    Verdict.DONE_ONLY: f"The provider said that it was done without having sent any part of an answer. {_AGAIN}",
    Verdict.PREAMBLE_ONLY: f"The provider announced an answer and then ended without sending any of it. {_AGAIN}",
    Verdict.MALFORMED: f"The provider sent something that is not a readable answer. {_AGAIN}",
    Verdict.CUT: f"The connection to the provider failed before any part of an answer came. {_AGAIN}",
    Verdict.TIMED_OUT: (
        "The provider sent no part of an answer within the time allowed. "
        "Send the request again, try another model or provider, or allow more time with sse_answer_timeout."
    ),
    Verdict.CUT_LATE: (
        "The connection to the provider was lost in the middle of the answer: what came is not all of it. " + _AGAIN
    ),
    Verdict.TIMED_OUT_LATE: (
        "The provider fell silent in the middle of the answer: what came is not all of it. "
        "Send the request again, or allow more silence with sse_idle_timeout."
    ),
    Verdict.TRUNCATED: (
        "The provider ended the answer without saying that it was complete: part of it may be missing. " + _AGAIN
    ),
    Verdict.PROVIDER_ERROR: "The provider reported an error instead of an answer.",
}

_STATUSES = {Verdict.TIMED_OUT: 504, Verdict.TIMED_OUT_LATE: 504, Verdict.MISROUTED: 400}


def status_of(verdict: Verdict) -> int:
    """The HTTP status of a failure (a `provider_error` has its own, see `provider_error.ProviderError`)."""
    return _STATUSES.get(verdict, 502)


def message_of(verdict: Verdict) -> str:
    """What happened and what to do. Raises KeyError for a verdict that no client is told of."""
    return _MESSAGES[verdict]
