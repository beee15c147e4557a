"""Read a bake file with python-hcl2, for where there is no buildx.

In: the text of a bake file. Out: a `Reading`, or a `BakegenError` that says which line cannot be read and why.

python-hcl2 parses; what it parsed is evaluated here. That is not all of HCL: just what `docker-bake.hcl.j2` writes,
and whatever goes beyond it is refused. The functions must be, word for word, those of bakegen's own template.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any
from unicodedata import normalize

import hcl2
from lark import Token, Tree
from lark.exceptions import LarkError, UnexpectedInput

from bakegen.bake.reading import Attributes, Reading, canonical, unreadable
from bakegen.errors import BakegenError
from bakegen.source.resources import BAKE_TEMPLATE, resource
from bakegen.spec.bake_attributes import ATTRIBUTES, Attribute, fits

Node = Tree[Token]

_FUNCTION = re.compile(r'^function "\w+" \{\n.*?^\}\n', re.MULTILINE | re.DOTALL)
_ESCAPE = re.compile(
    r'\\(?:(?P<char>[nrt"\\])|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<bad>.?))', re.DOTALL
)
_OPENING = re.compile(r"[$%]\{")
_CHARS = {"n": "\n", "r": "\r", "t": "\t"}

_MEMBERS = Attribute("list", (0, 2))

# How a target takes over what it inherits (Target.Merge in buildx's bake.go); all else is replaced.
_MERGED = frozenset({"args", "contexts", "extra-hosts", "labels", "resources"})
_APPENDED = frozenset("annotations attest cache-from entitlements no-cache-filter policy secret ssh ulimits".split())


class _RefusedError(Exception):
    """Something that is not read here, and where."""

    def __init__(self, message: str, node: Node | Token | None = None) -> None:
        super().__init__(message)
        place: Any = node.meta if isinstance(node, Tree) else node
        self.line: int = getattr(place, "line", 0) or 0
        self.column: int = getattr(place, "column", 0) or 0


def read_with_hcl2(content: bytes, environment: Mapping[str, str] | None = None) -> Reading:
    """Return what bake reads in a bake file; values in `environment` override the defaults of variables.

    Raises `BakegenError` (`bake-unreadable`) for what is no HCL, and for HCL that bakegen does not write.
    """
    try:
        return _Reader(environment or {}).read(_parse(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        problem = unreadable("is not UTF-8", content, content[: error.start].count(b"\n") + 1)
    except _RefusedError as error:
        problem = unreadable(str(error), content, error.line, error.column)
    except UnexpectedInput as error:
        found = getattr(error, "token", None) or getattr(error, "char", None) or "the end of the file"
        problem = unreadable(f"python-hcl2 does not expect {str(found)!r} here", content, error.line, error.column)
    except LarkError as error:
        problem = unreadable(f"python-hcl2: {error}", content)
    except RecursionError:
        problem = unreadable("is nested too deeply", content)
    raise BakegenError([problem])


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause the garbage collector: it finds nothing in a growing parse tree, and takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parse(text: str) -> Node:
    with _without_gc():
        tree: Node = hcl2.parses_to_tree(text)
    return tree.children[0]  # type: ignore[return-value]  # `start` holds just the `body`


def _trees(node: Node) -> list[Node]:
    """Return the children that mean something: no punctuation, no comments."""
    return [child for child in node.children if isinstance(child, Tree) and child.data != "new_line_or_comment"]


def _spelling(node: Node) -> str:
    """Return the tokens of a node without comments and line ends, to compare code by."""
    tokens = node.scan_values(lambda token: isinstance(token, Token) and token.type != "NL_OR_COMMENT")
    return " ".join(str(token).strip() for token in tokens)


def _own_functions() -> dict[str, str]:
    """Return the functions that bakegen's template defines, by name."""
    text = resource(BAKE_TEMPLATE).read_text(encoding="utf-8")
    blocks = _trees(_parse("".join(_FUNCTION.findall(text))))
    return {_label(block): _spelling(block) for block in blocks}


def _label(block: Node) -> str:
    _, *labels, _ = _trees(block)
    if len(labels) != 1 or labels[0].data != "string":
        raise _RefusedError("a block has one label, in quotes", block)
    return _constant(labels[0])


def _constant(string: Node) -> str:
    return _Reader({}).string(string)


class _Reader:
    """Evaluates the blocks of one file."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.values: dict[str, Any] = {}
        self.blocks: dict[str, dict[str, Node]] = {"variable": {}, "function": {}, "group": {}, "target": {}}
        self.attributes: dict[str, Attributes] = {}
        self.functions: dict[str, tuple[int | None, Callable[..., list[str]]]] = {  # how many lists each takes
            "having": (2, self.having),
            "members": (None, self.members),
            "platforms": (1, self.platforms),
            "tags": (2, self.tags),
        }

    def read(self, body: Node) -> Reading:
        constants = []
        for item in self.items(body):
            if item.data == "attribute":
                constants.append(item)
                continue
            kind = _spelling(_trees(item)[0])
            if kind not in self.blocks:
                raise _RefusedError(f'bake ignores a block of the kind "{kind}"', item)
            name = _label(item)
            if name in self.blocks[kind]:
                raise _RefusedError(f'there is a second {kind} "{name}", which bake merges with the first', item)
            self.blocks[kind][name] = item
        self.check_functions()
        for name, block in self.blocks["variable"].items():
            default = self.body(block, {"default"}).get("default")
            if not isinstance(default, str):
                raise _RefusedError("a variable has a text as default", block)
            self.values[name] = self.environment.get(name, default)
        for constant in constants:
            self.values |= self.pair(constant)
        self.attributes = {name: self.attributes_of(block) for name, block in self.blocks["target"].items()}
        return Reading(
            {name: canonical(self.target(name, ())) for name in self.attributes},
            {name: self.group(block) for name, block in self.blocks["group"].items()},
        )

    def check_functions(self) -> None:
        own = _own_functions()
        for name, block in self.blocks["function"].items():
            if own.get(name) != _spelling(block):
                raise _RefusedError(
                    f'the function "{name}" is not one that bakegen writes; only buildx reads it', block
                )

    def items(self, body: Node) -> Iterator[Node]:
        """Yield attributes and blocks; python-hcl2 lets them share a line, bake does not."""
        line = 0
        for item in _trees(body):
            if item.meta.line == line:
                raise _RefusedError("each attribute and each block has a line of its own", item)
            line = item.meta.end_line
            yield item

    def body(self, block: Node, known: Iterable[str]) -> dict[str, Any]:
        """Return the attributes of a block."""
        found: dict[str, Any] = {}
        for item in self.items(_trees(block)[-1]):
            if item.data != "attribute":
                raise _RefusedError("bake ignores a block inside a block", item)
            name, value = next(iter(self.pair(item).items()))
            if name not in known:
                raise _RefusedError(f'bake ignores the attribute "{name}"', item)
            if name in found:
                raise _RefusedError(f'a second attribute "{name}"', item)
            found[name] = value
        return found

    def pair(self, attribute: Node) -> dict[str, Any]:
        name, value = _trees(attribute)
        return {_spelling(name): self.value(value)}

    def group(self, block: Node) -> tuple[str, ...]:
        members = self.body(block, {"targets"}).get("targets", [])
        if not fits(_MEMBERS, members):
            raise _RefusedError("targets of a group are a list of names", block)
        return tuple(members)

    def attributes_of(self, block: Node) -> Attributes:
        attributes = self.body(block, ATTRIBUTES)
        for name, value in attributes.items():
            if not fits(ATTRIBUTES[name], value):
                raise _RefusedError(f'"{name}" must be a {ATTRIBUTES[name].kind}', block)
        return attributes

    def target(self, name: str, below: tuple[str, ...]) -> Attributes:
        """Return the attributes of a target with those that it inherits."""
        if name in below or name not in self.attributes:
            what = "inherits from itself" if name in below else f'inherits from "{name}", which does not exist'
            raise _RefusedError(what, self.blocks["target"][below[-1]])
        own = self.attributes[name]
        merged: dict[str, Any] = {}
        for parent in own.get("inherits", ()):
            _merge(merged, self.target(parent, (*below, name)))
        return _merge(merged, {key: value for key, value in own.items() if key != "inherits"})

    def value(self, node: Node) -> Any:
        match node.data:
            case "expr_term" if len(node.children) == 1:
                return self.value(_trees(node)[0])
            case "string":
                return self.string(node)
            case "literal_value" if _spelling(node) in {"true", "false"}:
                return _spelling(node) == "true"
            case "identifier":
                return self.variable(_spelling(node), node)
            case "tuple":
                return [self.value(item) for item in _trees(node)]
            case "object":
                return self.object(node)
            case "function_call":
                return self.call(node)
        raise _RefusedError(f"bakegen writes no {str(node.data).replace('_', ' ')} such as {_spelling(node)}", node)

    def variable(self, name: str, node: Node | None = None) -> Any:
        if name not in self.values:
            raise _RefusedError(f'there is no variable "{name}"', node)
        return self.values[name]

    def object(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for element in _trees(node):
            key_node, value = _trees(element)
            key = self.value(_trees(key_node)[0]) if key_node.children else None
            if not isinstance(key, str):
                raise _RefusedError("a key is a text in quotes", element)
            if key in found:
                raise _RefusedError(f'a second key "{key}"', element)
            found[key] = self.value(value)
        return found

    def string(self, node: Node) -> str:
        written = []
        for part in _trees(node):
            inner = part.children[0]
            if isinstance(inner, Token):
                written.append(_decoded(inner))
            elif inner.data == "interpolation":
                written.append(self.text(_trees(inner)[0]))
            else:
                raise _RefusedError(f"bakegen writes no {inner.data}", inner)
        return normalize("NFC", "".join(written))

    def text(self, node: Node) -> str:
        value = self.value(node)
        if not isinstance(value, str):
            raise _RefusedError("only texts stand inside a text", node)
        return value

    def call(self, node: Node) -> list[str]:
        called, *rest = _trees(node)
        name = _spelling(called)
        arguments = [self.value(argument) for argument in (_trees(rest[0]) if rest else ())]
        spread = rest and any(isinstance(token, Token) and token.type == "ELLIPSIS" for token in rest[0].children)
        count, function = self.functions.get(name, (None, None))
        lists = all(isinstance(argument, list) for argument in arguments) and count in {None, len(arguments)}
        if function is None or name not in self.blocks["function"] or spread or not lists:
            raise _RefusedError(f"bakegen writes no such call of {name}", node)
        return function(*arguments)

    # The functions of the template, in Python.

    def asked(self, declared: Sequence[str]) -> list[str]:
        wanted = self.variable("BAKEGEN_PLATFORMS")
        return [platform for platform in declared if not wanted or platform in wanted.split(",")]

    def nothing(self) -> list[str]:
        return [f"nothing for {self.variable('BAKEGEN_PLATFORMS').replace('/', '-')}"]

    def having(self, declared: Sequence[str], names: Sequence[str]) -> list[str]:
        return list(names) if self.asked(declared) else []

    def members(self, *lists: Sequence[str]) -> list[str]:
        return list(chain(*lists)) or self.nothing()

    def platforms(self, declared: Sequence[str]) -> list[str]:
        return self.asked(declared) or self.nothing()

    def tags(self, repositories: Sequence[str], names: Sequence[str]) -> list[str]:
        prefix = self.variable("BAKEGEN_REGISTRY")
        if prefix:
            repositories = [f"{prefix}/{repository.rsplit('/', 1)[-1]}" for repository in repositories]
        return [f"{repository}:{name}" for repository in dict.fromkeys(repositories) for name in names]


def _merge(below: dict[str, Any], above: Attributes) -> dict[str, Any]:
    """Lay attributes over those of a parent."""
    for name, value in above.items():
        if name in _MERGED:
            below[name] = {**below.get(name, {}), **value}
        elif name in _APPENDED:
            below[name] = [*below.get(name, ()), *value]
        else:
            below[name] = value
    return below


def _decoded(token: Token) -> str:
    """Return the text that a literal part of a string means."""
    text = str(token)
    if token.type in {"ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"}:
        text = text[1:]  # up to the next brace, whatever stands there: python-hcl2 reads these in one piece
        if '"' in _ESCAPE.sub("", text) or _OPENING.search(text, 2):
            raise _RefusedError(f"python-hcl2 misreads {token[:3]} without the brace that closes it", token)
    if "\n" in text:
        raise _RefusedError("a text ends on its line", token)

    def character(match: re.Match[str]) -> str:
        if match["bad"] is not None:
            raise _RefusedError(f"HCL knows no escape {match[0]}", token)
        if match["char"]:
            return _CHARS.get(match["char"], match["char"])
        return chr(int(match["short"] or match["long"], 16))

    return _ESCAPE.sub(character, text) if "\\" in text else text
