"""What has been measured, as tables for people (also valid Markdown) and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .figures import Figure, Of, Section, Spread, Target

_HEAD = ("what", "of", "median (quartiles)", "to the rival (quartiles)", "target")
_LEFT = (0, 1)  # columns of words
_SIGNS = {Of.VALUE: "", Of.RATIO: "x", Of.DIFFERENCE: " more"}


def as_text(section: Section) -> str:
    """A table, and the section's notes below it."""
    rows = [row for figure in section.figures for row in _rows(figure)]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if at in _LEFT else ":") for at, width in enumerate(widths)) + "|"
    lines = ["", f"### {section.title}", "", _line(_HEAD, widths), rule, *(_line(row, widths) for row in rows)]
    return "\n".join([*lines, "", *(f"{note}\n" for note in section.notes)])


def as_json(sections: Sequence[Section], facts: Mapping[str, object]) -> str:
    """Everything, with `facts` on the run in front."""
    told = [
        {
            "title": section.title,
            "notes": list(section.notes),
            "figures": [_figure(figure) for figure in section.figures],
        }
        for section in sections
    ]
    return json.dumps({**facts, "sections": told}, indent=1) + "\n"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    padded = (cell.ljust(width) if at in _LEFT else cell.rjust(width) for at, (cell, width) in enumerate(cells))
    return "| " + " | ".join(padded) + " |"


def _rows(figure: Figure) -> Iterator[tuple[str, ...]]:
    for at, name in enumerate(figure.samples):
        value, ratio = figure.spread(name, Of.VALUE), figure.spread(name, Of.RATIO)
        compared = "is the rival" if name == figure.rival else "" if ratio is None else _shown(ratio, "x")
        targets = (f"{_target(figure, target)} {'met' if met else 'MISSED'}" for target, met in figure.outcomes(name))
        what = f"{figure.name}, {figure.unit}" if at == 0 else ""
        yield what, name, _shown(value) if value else "", compared, ", ".join(targets)


def _target(figure: Figure, target: Target) -> str:
    unit = f" {figure.unit}" if target.of is not Of.RATIO else ""
    quartile = ", give or take" if target.within_spread else ""
    return f"{'≥' if target.at_least else '≤'} {target.limit:g}{unit}{_SIGNS[target.of]}{quartile}:"


def _shown(spread: Spread, sign: str = "") -> str:
    """The median, and the quartiles if there is more than one sample."""
    median = f"{number(spread.median)}{sign}"
    if spread.low == spread.high:
        return median
    return f"{median} ({number(spread.low)} to {number(spread.high)})"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.995 else 3
    return f"{value:.{digits}f}"


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        "rival": figure.rival or None,
        "contenders": {name: _contender(figure, name) for name in figure.samples},
    }


def _contender(figure: Figure, name: str) -> dict[str, Any]:
    spreads = {str(of): figure.spread(name, of) for of in Of}
    return {
        "samples": list(figure.samples[name]),
        **{of: None if spread is None else asdict(spread) for of, spread in spreads.items()},
        "targets": [{**asdict(target), "met": met} for target, met in figure.outcomes(name)],
    }
