"""The rooms keep to themselves: what each module may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "recollect"
PARTS = ("stores", "samplers", "retention", "views", "transforms")
EDGES = ("gym", "interop", "learners", "cli", "experiments", "cluster", "conformance")
CORE = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in (*EDGES, "__init__")
]
SHARED = {
    "recollect.views.stack",
    "recollect.views.returns",
    "recollect.views.windows",
    "recollect.stores.arrays",
    "recollect.stores.buffers",
    "recollect.stores.codecs",
    "recollect.stores.compressed",
    "recollect.stores.copying",
    "recollect.stores.decoding",
    "recollect.stores.files",
    "recollect.stores.locks",
    "recollect.stores.pieces",
    "recollect.stores.records",
    "recollect.stores.runs",
    "recollect.stores.teams",
    "recollect.samplers.order",
    "recollect.samplers.ranks",
    "recollect.samplers.sumtree",
    "recollect.samplers.weights",
    "recollect.retention.slots",
    "recollect.transforms.fields",
    "recollect.transforms.images",
}
"""Structures that several parts of a room are made of, no parts themselves."""


def imports(path, everywhere):
    """Modules that a file imports, at module level or everywhere but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_imports_no_edge(path):
    outside = {"torch", "gymnasium", "ray", "jax", "tensorflow"}
    edges = {f"recollect.{edge}" for edge in EDGES}
    used = set(imports(path, everywhere=False))
    assert not {name for name in used if name.split(".")[0] in outside}
    assert not {name for name in used if ".".join(name.split(".")[:2]) in edges}


@pytest.mark.parametrize("room", PARTS)
def test_no_part_knows_its_siblings(room):
    for path in (PACKAGE / room).glob("*.py"):
        siblings = {
            f"recollect.{room}.{other.stem}"
            for other in (PACKAGE / room).glob("*.py")
            if other.stem not in ("base", "__init__", path.stem)
        }
        used = set(imports(path, everywhere=True)) - SHARED
        assert not used & siblings, path


@pytest.mark.parametrize("room", PARTS)
def test_parts_know_neither_reader_nor_memory(room):
    names = ("memory", "reader", "frontier", "streams", "ownership", "rings")
    above = {f"recollect.{name}" for name in names}
    for path in (PACKAGE / room).glob("*.py"):
        assert not set(imports(path, everywhere=True)) & above, path


def test_importing_recollect_loads_no_heavy_library():
    code = (
        "import sys, recollect, numpy as np\n"
        "schema = recollect.Schema.examples(x=recollect.Field((), np.float32))\n"
        "memory = recollect.Memory(schema, 4)\n"
        "memory.add(x=1.0)\n"
        "heavy = {'torch', 'gymnasium', 'numba', 'ray', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "memory.sample(2)\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['numba']"]


def test_every_public_name_is_there_and_documented():
    import recollect

    for name in recollect.__all__:
        assert getattr(recollect, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = recollect.nothing
