"""Who may import whom: the rooms of course_lib, and the chapters."""

import ast
import graphlib
import importlib
from collections import Counter
from collections.abc import Iterator

import nbformat
import pytest
from conftest import ROOT

from tools.rooms import ORDER, PACKAGE, graph, imports, main, modules, wrong_arrows

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
# What no reader has who installed the package.
CHECKOUT = {"benchmarks", "chapters", "tests", "tools"}


@pytest.fixture
def package(tmp_path):
    """Write a package of these files; its graph."""

    def write(**sources):
        for name, source in sources.items():
            path = tmp_path / PACKAGE / (name.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return graph(tmp_path)

    return write


def body(name: str) -> list[ast.stmt]:
    """The statements of a module, its docstring aside."""
    statements = ast.parse(modules()[name].read_text(encoding="utf-8")).body
    return statements[ast.get_docstring(ast.Module(statements, [])) is not None :]


def code(path) -> ast.Module:
    """The cells of a chapter as one program."""
    cells = nbformat.read(path, as_version=4).cells
    return ast.parse("\n".join(c.source for c in cells if c.cell_type == "code"))


DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def defined(tree: ast.AST) -> Iterator[DEFINITION]:
    """The functions and classes that others can call: not what is inside of one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, DEFINITION):
            yield node
        else:
            yield from defined(node)


def bare(definition: DEFINITION) -> str:
    """A definition less what does not compute: docstrings and annotations."""
    copy = ast.parse(ast.unparse(definition))
    for node in ast.walk(copy):
        if isinstance(node, DEFINITION) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(copy)


def public() -> dict[str, set[str]]:
    """The public functions and classes of the package by name, each bare."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        handed_on = getattr(importlib.import_module(f"{PACKAGE}.{name}"), "__all__", ())
        for node in defined(ast.parse(path.read_text(encoding="utf-8"))):
            if node.name in handed_on:
                found.setdefault(node.name, set()).add(bare(node))
    return found


def in_two(trees: list[ast.Module]) -> list[str]:
    """The names that two chapters or more define."""
    chapters = Counter(
        name for tree in trees for name in {d.name for d in defined(tree)}
    )
    return sorted(name for name, times in chapters.items() if times > 1)


def borrowed(tree: ast.Module, package: dict[str, set[str]]) -> list[str]:
    """The names of the package that a chapter gives to something else."""
    return [
        node.name
        for node in defined(tree)
        if node.name in package and bare(node) not in package[node.name]
    ]


# --- the package ----------------------------------------------------------------------


def test_every_arrow_points_to_a_room_above():
    assert not wrong_arrows(graph())


def test_there_is_no_circle():
    order = tuple(graphlib.TopologicalSorter(graph()).static_order())
    assert set(order) == set(graph())


def test_every_module_is_written_into_the_order_once():
    names = [name for line in ORDER for name in line.split()]
    assert sorted(names) == sorted(modules())


@pytest.mark.parametrize("name", [name for name in modules() if body(name)])
def test_a_module_says_which_of_its_names_are_public(name):
    module = importlib.import_module(f"{PACKAGE}.{name}")
    public = module.__all__
    assert len(set(public)) == len(public)
    assert [each for each in public if not hasattr(module, each)] == []
    assert [each for each in public if each.startswith("_")] == []


def test_the_package_imports_nothing_of_the_checkout_around_it():
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {module.partition(".")[0] for module, _ in imports(tree)}
        assert not found & CHECKOUT, name


# --- the chapters ---------------------------------------------------------------------


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_chapter_imports_another(path):
    tree = code(path)  # no magic such as %run: this is Python
    assert not {module.partition(".")[0] for module, _ in imports(tree)} & CHECKOUT
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    assert not any(".ipynb" in text for text in texts if isinstance(text, str))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_shows_nothing_private_of_the_package(path):
    tree = code(path)
    taken = [name for module, name in imports(tree) if module.startswith(PACKAGE)]
    assert [name for name in taken if name.startswith("_")] == []


def test_no_function_or_class_is_defined_in_two_chapters():
    assert in_two([code(path) for path in CHAPTERS]) == []


def test_a_name_of_the_package_means_the_same_in_every_chapter():
    """A chapter may build the package's own thing by hand, statement by statement."""
    package = public()
    assert {
        path.stem: found
        for path in CHAPTERS
        if (found := borrowed(code(path), package))
    } == {}


def test_a_name_in_two_chapters_is_found_and_one_inside_a_function_is_not():
    one = "def f(x):\n    def loss(): ...\n    return x"
    assert in_two([ast.parse(one), ast.parse("with a:\n    class f: ...")]) == ["f"]
    assert in_two([ast.parse(one), ast.parse("def loss(): ...")]) == []


def test_a_name_of_the_package_is_free_only_for_what_the_package_has_there():
    package = {
        "f": {
            bare(
                ast.parse(
                    'def f(x: float) -> int:\n    "Twice."\n    return 2 * x'
                ).body[0]
            )
        }
    }
    assert borrowed(ast.parse("def f(x):  # by hand\n    return 2 * x"), package) == []
    assert borrowed(ast.parse("def f(x):\n    return 3 * x"), package) == ["f"]
    assert borrowed(ast.parse("def g(x):\n    return 3 * x"), package) == []


# --- the tool itself ------------------------------------------------------------------


def test_the_graph_is_printed_on_two_screens(capsys):
    main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 100
    assert sum("←" in line for line in lines) == len(modules())


def test_an_arrow_to_a_room_below_is_found(package):
    arrows = package(low="from course_lib import high", high="x = 1")
    assert wrong_arrows(arrows, ("low", "high")) == [
        "low imports high, which does not stand above it"
    ]
    assert not wrong_arrows(arrows, ("high", "low"))


def test_an_arrow_between_modules_of_one_line_is_found(package):
    arrows = package(one="import course_lib.two", two="")
    assert wrong_arrows(arrows, ("one two",))


def test_an_import_inside_a_function_counts(package):
    arrows = package(one="def f():\n    from course_lib.two import x", two="x = 1")
    assert arrows["one"] == {"two"}


def test_a_name_that_a_room_hands_on_is_not_its_file_of_that_name(package):
    arrows = package(
        **{
            "room.__init__": "from course_lib.room.solve import solve",
            "room.solve": "def solve(): ...",
            "room.beside": "",
            "face": "from course_lib.room import solve",
            "file": "from course_lib.room import beside",
        }
    )
    assert arrows["face"] == {"room"}
    assert arrows["file"] == {"room.beside"}
    assert arrows["room"] == {"room.solve"}


def test_a_relative_import_is_refused(package):
    with pytest.raises(ValueError, match="relative"):
        package(one="from . import two", two="")


def test_what_the_order_lacks_and_what_it_has_too_much_is_said(package):
    assert wrong_arrows(package(new=""), ("gone",)) == [
        "new has no place in ORDER",
        "gone is in ORDER and not there",
    ]
