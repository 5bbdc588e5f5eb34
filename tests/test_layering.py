"""Who may import whom: main -> mitm -> the pure modules, and never back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ADDON = Path(__file__).parents[1] / "addon"
PACKAGE = ADDON / "sseguard"

#: What lives at the edge, each for its own reason: sockets and clocks, a terminal, pytest.
EDGE = ("recordings/play*.py", "pytest_plugin.py", "__main__.py", "cli.py", "commands.py")

#: Time, chance and the world outside come to the pure modules as arguments.
IMPURE = {"mitmproxy", "asyncio", "logging", "time", "os", "random"}

MITM = sorted(PACKAGE.glob("mitm/**/*.py"))
PURE = [path for path in sorted(PACKAGE.rglob("*.py")) if path not in MITM and not any(map(path.match, EDGE))]
EVERYTHING = sorted(ADDON.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ADDON))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ADDON).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it."""
    package = path.relative_to(ADDON).parts[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_pure_module_imports_nothing_from_outside(path: Path) -> None:
    assert not {name for name in imports(path) if name.partition(".")[0] in IMPURE}


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_pure_module_imports_nothing_from_the_edge(path: Path) -> None:
    edge = {module_of(other) for pattern in EDGE for other in PACKAGE.glob(pattern)} | {"sseguard.mitm", "main"}
    assert not {name for name in imports(path) for module in edge if is_of(name, module)}


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path.name != "main.py"], ids=name_of)
def test_nothing_imports_the_script(path: Path) -> None:
    assert not {name for name in imports(path) if is_of(name, "main")}


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path not in MITM], ids=name_of)
def test_mitmproxy_is_imported_in_one_place_but_for_starting_it(path: Path) -> None:
    assert {name for name in imports(path) if is_of(name, "mitmproxy")} <= {"mitmproxy.tools.main.mitmdump"}


@pytest.mark.parametrize("path", [path for path in MITM if path.parent.name != "layers"], ids=name_of)
def test_mitmproxys_inside_is_touched_in_one_room(path: Path) -> None:
    assert not {name for name in imports(path) if is_of(name, "mitmproxy.proxy")}


def test_the_script_imports_the_composition_root_and_nothing_else() -> None:
    assert {name for name in imports(ADDON / "main.py") if not is_of(name, "__future__")} == {"sseguard.mitm.build"}


def test_imports_are_found_in_every_form() -> None:
    assert "json" in set(imports(PACKAGE / "errors.py"))
    assert "sseguard.dialects.Dialect" in set(imports(PACKAGE / "errors.py"))
    assert "sseguard.sse" in set(imports(PACKAGE / "dialects.py"))
    assert "sseguard.mitm.layers" in set(imports(PACKAGE / "mitm" / "guard.py"))
    assert "sseguard.routing.routes.Route" in set(imports(PACKAGE / "routing" / "vendors.py"))
    assert len(PURE) > 40
