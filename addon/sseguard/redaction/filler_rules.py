"""Which members of the providers' JSON stay when texts are replaced by filler.

What stays is listed here; all other strings go, so what nobody thought of is masked.
"""

from __future__ import annotations

import enum


class Stays(enum.Enum):
    """How much of a string stays."""

    #: Nothing: it is filler.
    NOTHING = enum.auto()
    #: Its first word. Should such a member hold text for once, the rest is filler.
    WORD = enum.auto()
    #: All of it.
    ALL = enum.auto()


# What an API says about an answer, and what a client decides by.
_WORDS = frozenset(
    b"id object model models provider provider_name role type status status_code code param event finish_reason "
    b"native_finish_reason finishReason stop_reason blockReason reason phase system_fingerprint service_tier "
    b"created_at item_id call_id tool_call_id tool_use_id response_id responseId previous_response_id request_id "
    b"requestId generation_id message_id name version modelVersion format detail effort tool_choice mode "
    b"modalities modality mime_type mimeType media_type encoding quality size voice verbosity truncation category "
    b"probability severity ttl include data_collection sort order only ignore quantizations transforms".split()
)
# What one wants to see of an error.
_ERROR = frozenset((b"message", b"type", b"code", b"status", b"param"))

# An object of a free form, in which data may stand where elsewhere a word of the API does. As arrays, `input` and
# its like are conversations.
_FREE_OBJECTS = frozenset(
    b"input arguments args parameters input_schema schema properties output_schema responseSchema response_schema "
    b"parametersJsonSchema responseJsonSchema metadata user_location variables functionResponse".split()
)
# What says in numbers what the text says in letters.
_NUMBERS = frozenset(b"bytes tokens token_ids prompt_token_ids embedding".split())

#: In legacy completions the keys of this member's objects are tokens of the answer.
TOKENS_AS_KEYS = b"top_logprobs"
#: And in chat completions they are these.
TOKEN_KEYS = (b"token", b"logprob", b"bytes")


def stays(name: bytes, parent: bytes) -> Stays:
    """What stays of a string that is the value of member `name`, in the value of member `parent`.

    An array's elements count as the array, an object in an array as the array's member.
    """
    if name == b"error" or (parent == b"error" and name in _ERROR):
        return Stays.ALL
    return Stays.WORD if name in _WORDS else Stays.NOTHING


def is_free(name: bytes, parent: bytes, *, is_object: bool) -> bool:
    """Whether in this value only structure and keys stay, and the shape of numbers.

    `is_object`: it is an object, and not one in an array.
    """
    if name in _NUMBERS:
        return True
    return is_object and name in _FREE_OBJECTS and (name, parent) != (b"metadata", b"error")
