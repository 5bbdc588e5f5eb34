"""What a secret looks like: the shapes of keys, the names that announce one, and patterns of the user's own.

Sources: the providers' key pages, GitHub's list of token prefixes
(https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github),
RFC 7519 (JWT), RFC 7468 (PEM), RFC 9110 section 11 (schemes). Everything works on bytes: a recording need not
be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

#: What stands where a secret was. The number says which secret of that kind, in order of appearance.
PLACEHOLDER = re.compile(rb"<redacted:[a-z0-9-]{1,40}:[0-9]{1,12}>")

#: Bytes that a key, a URL, an escape or a base64 run may consist of. Nothing else is inside a key.
RUN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+/=.%\\:@?&~!$*;,#"

# A short prefix is a key's only where a word begins ("task-…" is none). One made of base64 letters alone would
# also turn up inside images, so there it must not come after a long run either.
_WORD = rb"(?<![A-Za-z0-9])"
_ALONE = _WORD + rb"(?<![\w+/-]{16})"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one provider's keys look.

    Attributes:
        kind: the name in the placeholder.
        prefixes: what such keys begin with.
        body: a regular expression for the rest.
        before: a regular expression that looks behind, for what may stand in front.
        random: whether words can look like this too, so that the whole must also look random.
    """

    kind: str
    prefixes: tuple[bytes, ...]
    body: bytes
    before: bytes = _WORD
    random: bool = False


# The first that fits wins: the narrower come first. Bodies are shorter than real keys are, because a stream
# may be cut inside one, and what there is of it must go too.
SHAPES = (
    Shape("openrouter-key", (b"sk-or-v1-",), rb"[\w-]{6,}", before=b""),
    Shape("anthropic-key", (b"sk-ant-api", b"sk-ant-oat", b"sk-ant-admin"), rb"[\w-]{6,}", before=b""),
    Shape("anthropic-key", (b"sk-ant-",), rb"[\w-]{12,}"),
    Shape("openai-key", (b"sk-proj-", b"sk-svcacct-", b"sk-admin-", b"sk-None-"), rb"[\w-]{10,}"),
    Shape("openai-key", (b"sk-",), rb"[\w-]{16,}", random=True),
    Shape("google-key", (b"AIza",), rb"[\w-]{24,}", before=_ALONE),
    Shape("google-key", (b"AQ.",), rb"[\w-]{30,}", random=True),
    Shape("google-token", (b"ya29.", b"GOCSPX-"), rb"[\w-]{12,}(?:\.[\w-]+)*"),
    Shape("google-token", (b"1//0",), rb"[\w-]{30,}", random=True),
    Shape("aws-key-id", (b"AKIA", b"ASIA", b"ABIA", b"ACCA"), rb"[A-Z0-9]{12,}", before=_ALONE, random=True),
    Shape("github-token", (b"github_pat_",), rb"\w{10,}", before=b""),
    Shape("github-token", (b"ghp_", b"gho_", b"ghs_", b"ghu_", b"ghr_"), rb"\w{12,}", random=True),
    Shape("gitlab-token", (b"glpat-", b"gldt-", b"glrt-", b"glptt-", b"glcbt-", b"gloas-"), rb"[\w-]{10,}(?:\.\w+)*"),
    Shape("slack-token", (b"xoxb-", b"xoxp-", b"xoxa-", b"xoxe-", b"xoxr-", b"xoxs-"), rb"[\w-]{10,}"),
    Shape("slack-token", (b"xapp-",), rb"[\w-]{12,}", random=True),
    Shape("slack-webhook", (b"hooks.slack.com/services/",), rb"[\w/]{10,}"),
    Shape("huggingface-token", (b"hf_",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("groq-key", (b"gsk_",), rb"[A-Za-z0-9]{12,}", random=True),
    Shape("xai-key", (b"xai-",), rb"[A-Za-z0-9_-]{12,}", random=True),
    Shape("stripe-key", (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_", b"whsec_"), rb"\w{10,}"),
    Shape("perplexity-key", (b"pplx-",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("nvidia-key", (b"nvapi-",), rb"[\w-]{16,}"),
    Shape("cerebras-key", (b"csk-",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("replicate-key", (b"r8_",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("fireworks-key", (b"fw_",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("npm-token", (b"npm_",), rb"[A-Za-z0-9]{16,}", random=True),
    Shape("pypi-token", (b"pypi-",), rb"[\w-]{32,}"),
    Shape("sendgrid-key", (b"SG.",), rb"[\w-]{16,}\.[\w-]{16,}"),
    # A JWE leaves its second part empty when the key was agreed on beforehand.
    Shape("jwt", (b"eyJ",), rb"[\w-]{6,}\.[\w-]*\.[\w-]*(?:\.[\w-]+){0,2}"),
)


def _regex(shape: Shape) -> bytes:
    return shape.before + b"(?:" + b"|".join(map(re.escape, shape.prefixes)) + b")"


# Python tries each alternative at each byte, so where a key may begin is searched for by the plain prefixes.
_PREFIX = re.compile(b"|".join(re.escape(prefix) for shape in SHAPES for prefix in shape.prefixes))
_KEY = re.compile(b"|".join(b"(" + _regex(shape) + shape.body + b")" for shape in SHAPES))
_KEY_BEGUN = re.compile(b"|".join(b"(" + _regex(shape) + b")" for shape in SHAPES))


class Key(NamedTuple):
    """A key, or the beginning of one, and what it looks like."""

    start: int
    end: int
    shape: Shape


def keys(data: bytes, end: int) -> Iterator[Key]:
    """The keys in `data` that begin before `end`, by their shape."""
    done = 0
    for prefix in _PREFIX.finditer(data, 0, end):
        found = _KEY.match(data, prefix.start()) if prefix.start() >= done else None
        if found:
            done = found.end()
            shape = SHAPES[(found.lastindex or 1) - 1]
            if not shape.random or random_looking(found[0]):
                yield Key(found.start(), found.end(), shape)


def keys_begun(data: bytes, start: int) -> Iterator[Key]:
    """The beginnings of keys in `data` from `start` on; each ends with its prefix."""
    for prefix in _PREFIX.finditer(data, start):
        found = _KEY_BEGUN.match(data, prefix.start())
        if found:
            yield Key(found.start(), found.end(), SHAPES[(found.lastindex or 1) - 1])


#: The text form of a private key (RFC 7468), also as it looks inside a JSON string; the end may be missing.
_PEM_BEGIN = rb"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
# Escapes as a whole: half of one would leave broken JSON behind.
_PEM_BODY = rb"(?:[A-Za-z0-9+/=\s:,-]|\\{1,7}(?:[nr/]|u000[adAD]))"
PEM = re.compile(
    _PEM_BEGIN + rb"(?:\s|\\+[nr]|\\+u000[adAD]|data:){0,12}(?=[A-Za-z0-9+/=:-]{8})"
    rb"(?:" + _PEM_BODY + rb"{8,16384}?(?:-----END [A-Z0-9 ]{0,40}-----|\Z|(?!" + _PEM_BODY + rb"))"
    rb"|" + _PEM_BODY + rb"{16384})"
)

#: A PEM block of a private key of which the end has not come yet, from its first marker to the end of the text.
PEM_OPEN = re.compile(rb"-----BEGIN(?: [A-Z0-9 ]{0,40}-{0,4}|" + _PEM_BEGIN[10:] + _PEM_BODY + rb"*)?")
PEM_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}-----")

#: A line that begins a PEM block of several lines, and one that may go on with it.
PEM_FIRST_LINE = re.compile(_PEM_BEGIN + rb"\s*\Z")
PEM_LINE = re.compile(_PEM_BODY + rb"*")

#: How a block, or another secret, may go on in text of which the beginning was taken out.
MORE_PEM = PEM_LINE
MORE_KEY = re.compile(rb"(?:[\w+/=.%-]|\\u00[2-7][0-9A-Fa-f]|\\/)*")


def random_looking(text: bytes) -> bool:
    """Whether some part between separators is too long, or too mixed, to be a word."""
    parts = re.split(rb"[^A-Za-z0-9]+", text)
    return any(len(part) >= 16 or (len(part) >= 6 and _MIXED.search(part)) for part in parts)


_MIXED = re.compile(rb"[A-Za-z]\d|\d[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says about its value: the kind of secret, and whether the name alone is enough."""

    kind: str
    sure: bool


_HARMLESS = re.compile(
    r"rate-?limit|author(?!i[sz])|authenticate$|access-control|idempoten|tokens|token[-_]?(?:count|type|usage|ids?\b|limit)"
    r"|max[-_]token|tokeni|(?:public|cache|primary|foreign|sort|partition)[-_]?key|key(?:word|board|s?pace|[-_]?ids?\b)"
)
_NAMES = (
    (re.compile(r"passw(?:or)?d|passphrase|\bpwd\b"), Named("password", sure=True)),
    (re.compile(r"api[-_. ]?key|(?:access|private|signing|subscription|account|auth|secret)[-_]?key$|^x-[\w-]*key$"),
     Named("api-key", sure=True)),
    (re.compile(r"secret"), Named("secret", sure=True)),
    (re.compile(r"(?:access|refresh|id|auth|oauth|session|bearer|security|csrf|xsrf|api|personal)[-_]?token$|^x-[\w-]*token"),
     Named("token", sure=True)),
    (re.compile(r"authori[sz]ation"), Named("authorization", sure=True)),
    (re.compile(r"^(?:set-)?cookie2?$"), Named("cookie", sure=False)),
    (re.compile(r"credential"), Named("credential", sure=False)),
    (re.compile(r"token"), Named("token", sure=False)),
    (re.compile(r"auth"), Named("authorization", sure=False)),
    (re.compile(r"[-_]key$"), Named("api-key", sure=False)),
)  # fmt: skip


def named(name: str) -> Named | None:
    """What `name`, of a header, a JSON member, a variable or a query parameter, says about its value."""
    lower = name.lower()
    if _HARMLESS.search(lower):
        return None
    return next((meaning for pattern, meaning in _NAMES if pattern.search(lower)), None)


_ACCOUNT = re.compile(r"(?:openai|anthropic)-(?:organization|project)(?:-id)?|chatgpt-account-id|x-goog-user-project")
_PARAMETER = re.compile(r"key|sig|signature|jwt|sid|(?:x-(?:amz|goog)-)?(?:signature|credential)|sessionid")


def header_kind(name: str) -> str | None:
    """The kind of secret that a header of this name holds, or None. Account ids count: they name a person."""
    lower = name.lower()
    if _ACCOUNT.fullmatch(lower):
        return "account-id"
    if re.search(r"signature$", lower):
        return "signature"
    meaning = named(lower)
    return meaning.kind if meaning else None


def parameter_kind(name: str) -> str | None:
    """The kind of secret that a query parameter of this name holds, or None."""
    lower = name.lower()
    if _PARAMETER.fullmatch(lower):
        return "signature" if "sig" in lower else "api-key"
    meaning = named(lower)
    return meaning.kind if meaning else None


class PatternError(ValueError):
    """Raised for a pattern of the user's that cannot be used; the message shows it and what was expected."""


def compile_patterns(patterns: Iterable[str]) -> tuple[re.Pattern[bytes], ...]:
    r"""The patterns of option `sse_record_redact`, for use on UTF-8 bytes.

    Each is a Python regular expression; all that it matches is replaced, within one line or one text of an
    answer. `\w` and the like know ASCII only. Raises `PatternError`.
    """
    return tuple(map(_compile, patterns))


def _compile(pattern: str) -> re.Pattern[bytes]:
    form = f"Expected a Python regular expression such as {'acme-[0-9a-f]{32}'!r}, got {pattern!r}"
    if not pattern.strip():
        raise PatternError(f"{form}: it is empty, and would match everywhere.")
    try:
        compiled = re.compile(pattern.encode("utf-8"))
    except (re.error, OverflowError, RecursionError, UnicodeEncodeError) as e:
        raise PatternError(f"{form}: {e}.") from e
    if any(found.end() == found.start() for probe in (b"", b"a 1-_") for found in compiled.finditer(probe)):
        raise PatternError(f"{form}: it also matches the empty string, and so everywhere.")
    return compiled
