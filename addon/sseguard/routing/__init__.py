"""Which models belong where: routes, vendors, and the judgement on a request."""

from .judgement import Finding, Severity, Table, describe, judge, message_for, warnings_for
from .request import Asked, models_in
from .routes import Route, RouteError, RouteType, parse_route

__all__ = [
    "Asked",
    "Finding",
    "Route",
    "RouteError",
    "RouteType",
    "Severity",
    "Table",
    "describe",
    "judge",
    "message_for",
    "models_in",
    "parse_route",
    "warnings_for",
]
