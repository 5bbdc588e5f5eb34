"""The grammar of a route, `host[:port][/path-prefix]=type`, and how a request's address is compared with one.

Hosts, ports and paths are brought to one spelling first, on both sides, so that upper case, a trailing dot, doubled
slashes, dot segments or percent-encoding change nothing about which route a request falls under.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

FORM = "host[:port][/path-prefix]=type"

_DEFAULT_PORTS = {"http": 80, "https": 443}
_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]*)\](?::(?P<port>.*))?")
# Wider than RFC 952 by the underscore, which container networks put in host names.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_MAX_HOST = 253  # characters, RFC 1035 section 2.3.4
_MAX_SHOWN = 80  # characters


class RouteType(enum.StrEnum):
    """Which model ids the server behind a route takes."""

    #: OpenAI's own API, or a gateway path that stands for it: bare ids.
    OPENAI = "openai"
    #: Anthropic's own API, or a gateway path that stands for it: bare ids.
    ANTHROPIC = "anthropic"
    #: Any other single vendor's API: bare ids.
    NATIVE = "native"
    #: OpenRouter: `vendor/model`.
    OPENROUTER = "openrouter"
    #: Any other server of many vendors' models: whatever it likes, slashes included.
    GATEWAY = "gateway"

    @property
    def takes_bare_ids(self) -> bool:
        """True for one vendor's API, where a `vendor/` prefix is stripped or rejected."""
        return self in (RouteType.OPENAI, RouteType.ANTHROPIC, RouteType.NATIVE)


class RouteError(ValueError):
    """Raised when a route cannot be read. The message shows the value, what is wrong and the form expected."""

    def __init__(self, value: str, problem: str) -> None:
        super().__init__(
            f"Expected a route of the form {FORM}, got {_shortened(value, 200)!r}: {problem}. "
            f"Types: {', '.join(RouteType)}. Example: https://llm.example.com/v1=gateway"
        )


@dataclass(frozen=True, slots=True)
class Route:
    """Some addresses of HTTP servers, and the kind of model ids they take. `str(route)` is what `parse_route` reads.

    Attributes:
        host: as `canonical_host` gives it.
        port: 1 to 65535, or None for every port.
        path_prefix: decoded path segments; `*` stands for exactly one, whatever it is.
        type: the kind of model ids.
    """

    host: str
    port: int | None
    path_prefix: tuple[str, ...]
    type: RouteType

    def __str__(self) -> str:
        return f"{self.pattern}={self.type}"

    @property
    def pattern(self) -> str:
        """The route without its type, safe to print."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        path = "".join("/" + quote(segment, safe="*@:=+$,;!&'()") for segment in self.path_prefix)
        return printable(host, _MAX_HOST) + port + path

    @property
    def specificity(self) -> tuple[int, tuple[bool, ...], bool]:
        """Ranks the routes that cover one request: by the longest prefix, then by literal segments, then by a port."""
        return len(self.path_prefix), tuple(s != "*" for s in self.path_prefix), self.port is not None

    def covers(self, port: int, path: tuple[str, ...]) -> bool:
        """Whether a request to this route's host, on `port` and for the segments `path`, falls under the route."""
        return (
            self.port in (None, port)
            and len(self.path_prefix) <= len(path)
            and all(want in ("*", got) for want, got in zip(self.path_prefix, path, strict=False))
        )


def parse_route(value: str) -> Route:
    """Read `host[:port][/path-prefix]=type`; the host may be a URL, as copied from a client's base URL setting.

    The type stands after the last `=`. A URL without a port means its scheme's port, as it does everywhere else:
    `https://h` is `h:443`, while a bare `h` is `h` on every port. Raises RouteError.
    """
    pattern, equals, kind = value.strip().rpartition("=")
    if not equals:
        raise RouteError(value, "there is no '='")
    if kind.lower() not in list(RouteType):
        raise RouteError(value, f"{_shortened(kind)!r} is not a type")
    if not pattern.isprintable() or " " in pattern:
        raise RouteError(value, "it has a blank or a character that cannot be printed")
    if found := set("?#\\") & set(pattern):
        raise RouteError(value, f"{min(found)!r} does not belong in it")
    try:
        host, port, path = _split_url(pattern)
    except ValueError as e:
        raise RouteError(value, str(e)) from e
    return Route(host, port, segments(path), RouteType(kind.lower()))


def canonical_host(host: str) -> str:
    """Give `host` in the spelling used for comparison: lower case, no trailing dot, IDNA as ASCII, IPv6 compressed.

    Raises ValueError for what cannot be a host.
    """
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as e:
            raise ValueError(f"{_shortened(host)!r} is not an IPv6 address") from e
    # The length comes first: the IDNA codec of early Python 3.11 takes quadratic time.
    name = host.lower() if len(host) <= _MAX_HOST + 1 else ""
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            name = ""
    name = name.removesuffix(".")
    if len(name) > _MAX_HOST or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{_shortened(host)!r} is not a host name")
    return name


def segments(path: str) -> tuple[str, ...]:
    """Split a request path (its query is dropped) into decoded segments, as a server that normalises would see it.

    An encoded slash divides segments like a plain one: many servers decode before they route.
    """
    found: list[str] = []
    for segment in unquote(re.split("[?#]", path, maxsplit=1)[0]).split("/"):
        if segment == "..":
            del found[-1:]
        elif segment not in ("", "."):
            found.append(segment)
    return tuple(found)


def printable(text: str, limit: int = _MAX_SHOWN) -> str:
    """Shorten `text` to `limit` characters, and escape what would disturb a terminal or leave double quotes."""
    return "".join(_escaped(c) if c in '"\\' or not c.isprintable() else c for c in _shortened(text, limit))


def _split_url(pattern: str) -> tuple[str, int | None, str]:
    """Take a URL, or an authority with a path, apart. Raises ValueError that says what is wrong."""
    scheme, mark, rest = pattern.partition("://")
    if not mark or "/" in scheme:
        return *_split_authority(pattern.partition("/")[0]), pattern.partition("/")[2]
    if scheme.lower() not in _DEFAULT_PORTS:
        raise ValueError(f"{_shortened(scheme)!r} is not http or https")
    authority, _, path = rest.partition("/")
    host, port = _split_authority(authority)
    return host, port or _DEFAULT_PORTS[scheme.lower()], path


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("it has a user name or password")
    if match := _BRACKETED.fullmatch(authority):
        if ":" not in match["host"]:
            raise ValueError("there is no IPv6 address between the brackets")
        return canonical_host(match["host"]), _port(match["port"])
    if authority.count(":") > 1:
        return canonical_host(authority), None
    name, colon, port = authority.partition(":")
    if not name:
        raise ValueError("the host is empty")
    return canonical_host(name), _port(port if colon else None)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError(f"{_shortened(text)!r} is not a port from 1 to 65535")


def _shortened(text: str, limit: int = _MAX_SHOWN) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escaped(character: str) -> str:
    return '\\"' if character == '"' else character.encode("unicode_escape").decode("ascii")
