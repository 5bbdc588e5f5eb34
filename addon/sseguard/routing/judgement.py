"""Which route a request falls under, and what to say of the models it asks for there. Nothing is ever rewritten.

`vendor/model` ids belong to gateways. A route to one vendor strips or rejects the prefix, and some clients show
that as an empty answer; so such a request is told apart here, before it is sent.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from .routes import Route, RouteType, canonical_host, printable, segments
from .vendors import (
    ANTHROPIC,
    BUILT_IN,
    CLOUDFLARE,
    OPENROUTER_URL,
    Vendor,
    is_openrouter,
    known_gateway_type,
    vendor_behind,
    vendor_of_bare_id,
    vendor_of_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Names that hold a slash by themselves: fine-tunes, resource names of Google, Fireworks and AWS, Cloudflare's and
# Hugging Face's models, files.
_NOT_SLASH_IDS = (
    *("ft:", "models/", "tunedmodels/", "accounts/", "publishers/", "projects/"),
    *("arn:", "@cf/", "hf.co/", "/"),
)
# https://openrouter.ai/docs/features/model-routing and the endings in its list of models
_VARIANTS = ("beta", "exacto", "extended", "floor", "free", "nitro", "online", "thinking")
_MAX_FINDINGS = 100  # of a list of models that may be as long as the body
_MAX_TOLD = 3  # findings in one message


class Severity(enum.StrEnum):
    """What a finding is worth when `sse_model_guard` is `block`."""

    #: The id cannot work on this route.
    BLOCK = "block"
    #: The id looks wrong, but the server may know better.
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Finding:
    """A model id that does not belong where it is going.

    Attributes:
        severity: whether to block the request.
        route: where it is going.
        model: the id as sent, not escaped.
        becomes: what the provider would make of it, printable.
        belongs: what was probably meant, to follow "did you mean", printable; None if the prefix is no known vendor's.
    """

    severity: Severity
    route: Route
    model: str
    becomes: str
    belongs: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """The user's routes over the built-in ones; a user's route replaces a built-in one for the same addresses."""

    routes: Sequence[Route] = ()
    _by_host: Mapping[str, Sequence[Route]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        unique = {(route.host, route.port, route.path_prefix): route for route in (*BUILT_IN, *self.routes)}
        by_host = defaultdict(list)
        for route in sorted(unique.values(), key=lambda route: route.specificity, reverse=True):
            by_host[route.host].append(route)
        object.__setattr__(self, "_by_host", dict(by_host))

    def find(self, host: str, port: int, path: str) -> Route:
        """The most specific route for a request's host, in any spelling, port, and path with or without query.

        An address that no route covers, or a host that cannot be read, is a gateway. Never raises.
        """
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            name = canonical_host(host[1:-1] if bracketed else host)
        except ValueError:
            name = host
        routes = self._by_host.get(name, ())
        where = segments(path) if routes else ()
        unknown = Route(name, None, (), RouteType.GATEWAY)
        return next((route for route in routes if route.covers(port, where)), unknown)


def warnings_for(user_routes: Iterable[Route]) -> tuple[str, ...]:
    """What to tell the user about the value of `sse_routes`, one text a problem: it is taken as it is nevertheless."""
    routes = tuple(user_routes)
    types: dict[str, list[RouteType]] = defaultdict(list)
    for route in routes:
        types[route.pattern].append(route.type)
    return (
        *(
            f"Expected type {expected} in sse_routes for what is known to take vendor/model ids, got {str(route)!r}: "
            f"each of these ids will be blocked there. Write {route.pattern}={expected}, or leave the entry out."
            for route in dict.fromkeys(routes)
            if route.type.takes_bare_ids and (expected := known_gateway_type(route))
        ),
        *(
            f"Expected one type for {pattern} in sse_routes, got {', then '.join(given)}: the last one counts."
            for pattern, given in types.items()
            if len(set(given)) > 1
        ),
    )


def judge(route: Route, model_ids: Iterable[str]) -> list[Finding]:
    """Say which of the model ids do not belong on `route`: the first hundred, in order, each once. Never raises."""
    if route.type is RouteType.GATEWAY:
        return []
    look_at = _judge_for_one_vendor if route.type.takes_bare_ids else _judge_for_openrouter
    found = (look_at(route, model) for model in dict.fromkeys(model_ids))
    return list(islice(filter(None, found), _MAX_FINDINGS))


def describe(finding: Finding) -> str:
    """One finding in plain words: what was asked, on which route, what would become of it, and what was meant."""
    told = (
        f'The model id "{printable(finding.model)}" does not belong on the route {finding.route}: {finding.becomes}. '
    )
    if finding.belongs is None:
        return told + f"An id with a slash belongs on a gateway, such as OpenRouter ({OPENROUTER_URL})."
    return told + f"Did you mean {finding.belongs}?"


def message_for(findings: Sequence[Finding], duplicates: Iterable[str] = ()) -> str:
    """The message of the 400 that answers a request with these findings, all for one route and at least one.

    `duplicates` names keys that the body holds more than once, as `models_in` reports them.
    """
    route = findings[0].route
    parts = [describe(finding) for finding in findings[:_MAX_TOLD]]
    if len(findings) > _MAX_TOLD:
        parts.append("More of the models asked for do not belong there either.")
    parts += (
        f'The request holds "{key}" more than once; providers differ on which they read, so each counts.'
        for key in duplicates
        if key in ("model", "models")
    )
    parts.append(
        "The request was not sent. If this route does take such ids, "
        f"add {route.pattern}={known_gateway_type(route) or RouteType.GATEWAY} to sse_routes; "
        "sse_model_guard=warn or off lets such requests pass."
    )
    return " ".join(parts)


def _slash_id(model: str) -> tuple[str, str] | None:
    """Take `vendor/model` apart at the first slash; None for any other id."""
    text = model.strip()
    prefix, _, rest = text.partition("/")
    if not rest.strip("/ ") or text[:16].lower().startswith(_NOT_SLASH_IDS):
        return None
    return prefix.strip(), rest.strip()


def _judge_for_one_vendor(route: Route, model: str) -> Finding | None:
    parts = _slash_id(model)
    if parts is None:
        return None
    prefix, rest = parts
    vendor = vendor_behind(route)
    rejected = "it is most likely rejected as an unknown model"
    if vendor is None or route.host not in vendor.hosts:
        rejected = f'its prefix is stripped, which leaves "{printable(rest)}", or it is rejected as an unknown model'
    return Finding(Severity.BLOCK, route, model, rejected, _belongs(route, prefix, rest))


def _judge_for_openrouter(route: Route, model: str) -> Finding | None:
    becomes = "it is most likely rejected, as OpenRouter's ids are vendor/model"
    if model.strip() and "/" not in model:
        vendor = vendor_of_bare_id(model.strip())
        meant = f'an id that starts with "{vendor.slug}/"' if vendor else "an id of the form vendor/model"
        return Finding(Severity.WARN, route, model, becomes, meant)
    parts = _slash_id(model)
    if parts and parts[0].lower() == "openrouter" and _slash_id(parts[1]):
        return Finding(Severity.WARN, route, model, becomes, f'"{printable(parts[1])}"')
    return None


def _belongs(route: Route, prefix: str, rest: str) -> str | None:
    """Where an id belongs, as far as that is known: places to choose from."""
    if is_openrouter(route.host):
        return "to set this route's type to openrouter, as the host is OpenRouter and takes such ids"
    if prefix.lower() == "openrouter":
        same = f"{prefix}/{rest}" if _slash_id(rest) is None else rest
        return f'"{printable(same)}" on OpenRouter ({OPENROUTER_URL})'
    vendor = vendor_of_prefix(prefix)
    return None if vendor is None else ", or ".join(_places(route, vendor, prefix, rest))


def _places(route: Route, vendor: Vendor, prefix: str, rest: str) -> Iterator[str]:
    bare = _vendors_own_name(vendor, rest)
    here = vendor is vendor_behind(route)
    if here and bare:
        yield f'"{bare}" here ({vendor.name}\'s list of models has the exact name)'
    if route.host == CLOUDFLARE:
        yield "this gateway's /compat path, which takes vendor/model ids"
    slug = prefix if prefix.lower() == vendor.slug else vendor.slug
    yield f'"{printable(f"{slug}/{rest}")}" on OpenRouter ({OPENROUTER_URL})'
    if vendor.url and not here:
        yield f"{vendor.name}'s own API ({vendor.url})" + (f', under a name like "{bare}"' if bare else "")


def _vendors_own_name(vendor: Vendor, rest: str) -> str | None:
    """A guess at the bare id, printable: OpenRouter's names are close to the vendors', but not always the same."""
    name, _, variant = rest.rpartition(":")
    bare = name if variant.lower() in _VARIANTS and name else rest
    if "/" in bare:
        return None
    # OpenRouter's claude-sonnet-4.5 is Anthropic's claude-sonnet-4-5.
    return printable(bare.replace(".", "-") if vendor is ANTHROPIC else bare)
