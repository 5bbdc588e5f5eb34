"""What is known of the world: who makes models, where they are served, and which ids are taken there.

A host is listed when its API takes that vendor's bare ids and nothing else. So api.perplexity.ai is not: its Agent API
takes `openai/gpt-5.2`. Nor are Azure's hosts: there a model is a deployment, often named in the path, and then the
body's model is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .routes import Route, RouteType

OPENROUTER_URL: Final = "https://openrouter.ai/api/v1"
CLOUDFLARE: Final = "gateway.ai.cloudflare.com"

_OPENAI_REGIONS = ("", "us.", "eu.", "ae.", "au.", "ca.", "gb.", "in.", "jp.", "kr.", "sg.")


@dataclass(frozen=True, slots=True)
class Vendor:
    """One maker of models.

    Attributes:
        name: for a person.
        slug: its prefix on OpenRouter.
        aliases: its prefixes elsewhere (Hugging Face, LiteLLM, Cloudflare), in lower case.
        url: base URL of its own API, or None where that is not one public address.
        hosts: where only its own models are served, by bare ids.
        cloudflare: its path segment in Cloudflare's AI Gateway, or None.
        stems: how its bare ids begin.
        type: of the routes to its own API.
    """

    name: str
    slug: str
    aliases: tuple[str, ...] = ()
    url: str | None = None
    hosts: tuple[str, ...] = ()
    cloudflare: str | None = None
    stems: tuple[str, ...] = ()
    type: RouteType = RouteType.NATIVE

    def is_behind(self, route: Route) -> bool:
        """Whether `route` leads to this vendor's models only."""
        if self.type is not RouteType.NATIVE or route.type is not RouteType.NATIVE:
            return route.type is self.type
        return route.host in self.hosts or (route.host == CLOUDFLARE and self.cloudflare in route.path_prefix)


OPENAI: Final = Vendor(
    name="OpenAI",
    slug="openai",
    url="https://api.openai.com/v1",
    # https://developers.openai.com/api/docs/guides/data-residency
    hosts=tuple(f"{region}api.openai.com" for region in _OPENAI_REGIONS),
    cloudflare="openai",
    stems=("gpt-", "chatgpt-", "o1", "o3", "o4"),
    type=RouteType.OPENAI,
)
ANTHROPIC: Final = Vendor(
    name="Anthropic",
    slug="anthropic",
    url="https://api.anthropic.com",
    hosts=("api.anthropic.com",),
    cloudflare="anthropic",
    stems=("claude-",),
    type=RouteType.ANTHROPIC,
)
VENDORS: Final = (
    OPENAI,
    ANTHROPIC,
    Vendor(
        name="Google",
        slug="google",
        aliases=("gemini", "google-ai-studio", "vertex_ai"),
        url="https://generativelanguage.googleapis.com/v1beta",
        hosts=("generativelanguage.googleapis.com",),
        cloudflare="google-ai-studio",
        stems=("gemini-", "gemma-"),
    ),
    Vendor(
        name="DeepSeek",
        slug="deepseek",
        aliases=("deepseek-ai",),
        url="https://api.deepseek.com",
        hosts=("api.deepseek.com",),
        cloudflare="deepseek",
        stems=("deepseek-",),
    ),
    Vendor(
        name="Mistral",
        slug="mistralai",
        aliases=("mistral",),
        url="https://api.mistral.ai/v1",
        hosts=("api.mistral.ai", "api.eu.mistral.ai", "api.us.mistral.ai", "codestral.mistral.ai"),
        cloudflare="mistral",
        stems=("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-"),
    ),
    Vendor(
        name="xAI",
        slug="x-ai",
        aliases=("xai", "grok"),
        url="https://api.x.ai/v1",
        # https://docs.x.ai/developers/advanced-api-usage/regions
        hosts=("api.x.ai", "us.api.x.ai", "us-east-1.api.x.ai", "eu-west-1.api.x.ai"),
        cloudflare="grok",
        stems=("grok-",),
    ),
    Vendor(
        name="Cohere",
        slug="cohere",
        aliases=("coherelabs",),
        url="https://api.cohere.com",
        hosts=("api.cohere.com", "api.cohere.ai"),
        cloudflare="cohere",
        stems=("command-",),
    ),
    Vendor(
        name="Moonshot AI",
        slug="moonshotai",
        aliases=("moonshot",),
        url="https://api.moonshot.ai/v1",
        hosts=("api.moonshot.ai", "api.moonshot.cn"),
        stems=("kimi-", "moonshot-"),
    ),
    Vendor(
        name="Z.ai",
        slug="z-ai",
        aliases=("zai", "zai-org"),
        url="https://api.z.ai/api/paas/v4",
        hosts=("api.z.ai", "open.bigmodel.cn"),
        stems=("glm-",),
    ),
    Vendor(
        name="MiniMax",
        slug="minimax",
        aliases=("minimaxai",),
        url="https://api.minimax.io/v1",
        hosts=("api.minimax.io", "api.minimaxi.com"),
        stems=("minimax-",),
    ),
    Vendor(name="Perplexity", slug="perplexity", url="https://api.perplexity.ai", stems=("sonar",)),
    Vendor(name="Meta", slug="meta-llama", stems=("llama-",)),
    Vendor(name="Qwen", slug="qwen", stems=("qwen",)),
    Vendor(name="Amazon", slug="amazon"),
    Vendor(name="Microsoft", slug="microsoft"),
    Vendor(name="Nous Research", slug="nousresearch"),
    Vendor(name="NVIDIA", slug="nvidia"),
)

# OpenRouter's whole hosts, not only their /api: so a user's route for the bare host is as specific, and takes effect.
BUILT_IN: Final = (
    *(Route(host, None, (), vendor.type) for vendor in VENDORS for host in vendor.hosts),
    *(
        Route(CLOUDFLARE, None, ("v1", "*", "*", vendor.cloudflare), vendor.type)
        for vendor in VENDORS
        if vendor.cloudflare is not None
    ),
    Route(CLOUDFLARE, None, ("v1", "*", "*", "openrouter"), RouteType.OPENROUTER),
    Route(CLOUDFLARE, None, ("v1", "*", "*", "compat"), RouteType.GATEWAY),
    *(
        Route(host, None, (), RouteType.OPENROUTER)
        for host in ("openrouter.ai", "eu.openrouter.ai", "us.openrouter.ai")
    ),
)


def is_openrouter(host: str) -> bool:
    """Whether `host`, in canonical spelling, is one of OpenRouter's."""
    return host == "openrouter.ai" or host.endswith(".openrouter.ai")


def known_gateway_type(route: Route) -> RouteType | None:
    """The type of a route's address if that is known to take `vendor/model` ids, whatever the route's own type says."""
    if is_openrouter(route.host):
        return RouteType.OPENROUTER
    known = (r for r in BUILT_IN if r.host == route.host and r.covers(route.port or 443, route.path_prefix))
    return next((r.type for r in known if not r.type.takes_bare_ids), None)


def vendor_behind(route: Route) -> Vendor | None:
    """The one vendor whose models `route` leads to, None if there are many or it is not known."""
    return next((vendor for vendor in VENDORS if vendor.is_behind(route)), None)


def vendor_of_prefix(prefix: str) -> Vendor | None:
    """The vendor whose ids are written `prefix/…`, in any case."""
    name = prefix.lower()
    return next((vendor for vendor in VENDORS if name == vendor.slug or name in vendor.aliases), None)


def vendor_of_bare_id(model: str) -> Vendor | None:
    """The vendor whose own ids begin like `model`, in any case."""
    name = model.lower()
    return next((vendor for vendor in VENDORS if name.startswith(vendor.stems)), None)
