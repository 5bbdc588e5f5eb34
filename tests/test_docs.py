"""README says what the code does."""

import re
from pathlib import Path

from sseguard.mitm.options import OPTIONS
from sseguard.verdicts import Verdict

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with `header`."""
    table = README.split(header, 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_options_are_those_that_there_are_in_that_order_and_with_those_defaults() -> None:
    shown = {None: "none", "": "none", True: "true", False: "false"}
    expected = [[name, "none" if default == [] else shown.get(default, default)] for name, _, default, _ in OPTIONS]
    assert [[cell.strip("`") for cell in row[:2]] for row in rows("| option | default | meaning |")] == expected


def test_the_verdicts_are_those_that_there_are() -> None:
    assert {row[0].strip("`") for row in rows("| verdict | when | the client gets |")} == set(Verdict)


def test_the_architecture_shows_every_module() -> None:
    picture = README.split("## Architecture", 1)[1].split("```")[1]
    package = ROOT / "addon" / "sseguard"
    modules = {path.name for path in package.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    assert modules <= set(re.findall(r"[\w.]+\.py", picture))


def test_every_link_to_a_file_leads_to_one() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_option_that_is_spoken_of_is_one() -> None:
    assert set(re.findall(r"\bsse_[a-z]\w+", README)) - {"sse_replay"} <= {name for name, *_ in OPTIONS} | {
        "sse_replay"
    }
