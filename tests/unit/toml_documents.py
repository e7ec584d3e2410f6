"""Generated TOML: documents like containerd's configuration, in every layout that an operator may have chosen.

A tree says what there is, and `_Writer` draws how it is written. Values are texts of TOML, so that `tomllib` alone says
what they mean. All of them are valid. Every comment has a number of its own, which no string contains; see `comments`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st

Keys = tuple[str, ...]
Tree: TypeAlias = "dict[str, str | Tree | list[Tree]]"
Pairs: TypeAlias = "list[tuple[Keys, str]]"

CRI = "io.containerd.grpc.v1.cri"
ENGINE: Keys = ("plugins", CRI, "containerd")
RUNTIMES: Keys = (*ENGINE, "runtimes")
NAMES = ["runc", "kata", "runsc", "runsc-strict", "crun"]

_NUMBERED = re.compile(r"# note (\d+)")


def comments(text: str) -> list[str]:
    """The numbers of the comments in `text`, in order; each stands in a document once."""
    return sorted(_NUMBERED.findall(text), key=int)


def tables(document: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    """The paths of all tables that a path leads to, the document itself among them."""
    yield above
    for key, value in document.items():
        if isinstance(value, dict):
            yield from tables(value, (*above, key))


def paths(document: Mapping[str, Any]) -> list[Keys]:
    """The paths of all that the tables hold."""
    found: list[Keys] = []
    for table in tables(document):
        inner: Any = document
        for key in table:
            inner = inner[key]
        found += [(*table, key) for key in inner]
    return found


# Values, as they are written

_STRINGS = [
    '""',
    "''",
    '"io.containerd.runc.v2"',
    "'/etc/containerd/runsc.toml'",
    '"# no comment"',
    "'a # b ] } , \"'",
    '"] } , = [x]"',
    r'"say \"hi\" \\"',
    r'"\u0023 \U0001F600 \t\n"',
    r"'C:\'",
    '"é ☃ 😀"',
    '""""""',
    "''''''",
    '"""one"""',
    '"""\n[plugins]\nversion = 9 # inside\n"""',
    "'''\n[[x]]\n'' # \"\"\" }\n'''",
    '""""quoted" ""two"""""',
    "''''single' ''two'''''",
    r'"""\"\"\" ] \\"""',
    r'"""\""" # \\"""',
    '"""folded \\\n\n    # here\\\n  """',
    r"'''\'''",
    '"""\n\n  }\n\n"""',
]
_OTHERS = [
    *("0", "-17", "+3", "1_000", "0xDEAD_beef", "0o755", "0b1101"),
    *("1.5", "-0.0", "6.02e23", "1e-7", "inf", "-inf", "nan", "true", "false"),
    *("1979-05-27T07:32:00Z", "1979-05-27 07:32:00.5-07:00", "1979-05-27T07:32:00", "1979-05-27", "07:32:00.999"),
]
_KEYS = [
    *("path", "level", "root-dir", "1", "3.14", "", "a b", "with.dot", "#", "]", '"', "'", "é", "=", "\\", "x\ty"),
    "io.containerd.ocicrypt.decoder.v1.tar",
]


class _Writer:
    """How one document is written: a draw wherever TOML leaves a choice."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.notes = 0
        # Taste differs from file to file more than from line to line.
        self.section, self.dotted, self.inline = (random.choice([0, 1, 1, 5]) for _ in range(3))
        self.chatty = random.choice([0.0, 0.1, 0.4])
        self.quoting = random.choice([0.0, 0.3])
        self.spacious = random.choice([0.0, 0.3])
        self.indents = random.choice([[""], ["", "  "], ["\t"], ["", "    ", "\t", " \t"]])

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    # The small things

    def space(self, usual: str = "") -> str:
        return self.random.choice(["", " ", "  ", "\t"]) if self.chance(self.spacious) else usual

    def comment(self) -> str:
        self.notes += 1
        ending = self.random.choice(["", " ]", " }", ' "', " '''", ' """', " [x]", " = # #", " \\", "\t", ",", " é"])
        return f"# note {self.notes}{ending}"

    def trailing(self) -> str:
        return self.space(" ") + self.comment() if self.chance(self.chatty) else self.space()

    def between(self) -> str:
        """Empty lines and comments, in an array or between statements."""
        lines = ""
        while self.chance(0.15 + self.chatty / 2):
            lines += self.random.choice(self.indents) + (self.comment() if self.chance(self.chatty) else "") + "\n"
        return lines

    def key(self, key: str) -> str:
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
        if bare and not self.chance(self.quoting):
            return key
        if not re.search(r"['\n]", key) and self.chance(0.4):
            return f"'{key}'"
        escaped = key.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
        if escaped == key and self.chance(0.2):
            escaped = "".join(f"\\u{ord(c):04x}" if self.chance(0.2) else c for c in key)
        return f'"{escaped}"'

    def keys(self, keys: Keys) -> str:
        written = self.key(keys[0])
        for key in keys[1:]:
            written += f"{self.space()}.{self.space()}{self.key(key)}"
        return written

    # Values

    def value(self, depth: int = 0) -> str:
        if depth < 3 and self.chance(0.25):
            return self.array([self.value(depth + 1) for _ in range(self.random.randint(0, 3))])
        if depth and depth < 3 and self.chance(0.1):
            return self.inline_table({key: self.value(depth + 1) for key in self.some_keys(2)})
        return self.random.choice(_STRINGS if self.chance(0.6) else _OTHERS)

    def array(self, values: Iterable[str]) -> str:
        spread = self.chance(0.5)
        text = "["
        for number, value in enumerate(values):
            text += ("," if number else "") + self.gap(spread) + value + (self.gap(spread) if self.chance(0.2) else "")
        if not text.endswith("[") and self.chance(0.3):
            text += "," + self.gap(spread)
        return text + self.gap(spread) + "]"

    def gap(self, spread: bool) -> str:
        return f"{self.trailing()}\n{self.between()}{self.random.choice(self.indents)}" if spread else self.space()

    def inline_table(self, tree: Tree) -> str:
        pairs = list(self.inline_pairs(tree))
        self.random.shuffle(pairs)
        written = ",".join(
            f"{self.space(' ')}{self.keys(keys)}{self.space(' ')}={self.space(' ')}{value}{self.space()}"
            for keys, value in pairs
        )
        return "{" + written + self.space(" ") + "}"

    def inline_pairs(self, tree: Tree) -> Iterator[tuple[Keys, str]]:
        for key, node in tree.items():
            if isinstance(node, dict) and node and self.chance(0.3):
                yield from (((key, *keys), value) for keys, value in self.inline_pairs(node))
            else:
                yield (key,), self.inline_node(node)

    def inline_node(self, node: str | Tree | list[Tree]) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, dict):
            return self.inline_table(node)
        return self.array([self.inline_table(element) for element in node])

    # Statements

    def pair(self, keys: Keys, value: str, indent: str) -> str:
        return f"{indent}{self.keys(keys)}{self.space(' ')}={self.space(' ')}{value}{self.trailing()}\n"

    def body(self, pairs: Pairs, indent: str) -> str:
        return "".join(self.between() + self.pair(keys, value, indent) for keys, value in pairs)

    def header(self, keys: Keys, brackets: tuple[str, str] = ("[", "]")) -> str:
        opening, closing = brackets
        return f"{opening}{self.space()}{self.keys(keys)}{self.space()}{closing}{self.trailing()}\n"

    def table(self, path: Keys, tree: Tree) -> tuple[Pairs, list[str]]:
        """The pairs that belong below the header of `path`, and the sections of their own."""
        pairs: Pairs = []
        sections: list[str] = []
        self.split(path, (), tree, pairs, sections)
        if self.chance(0.5):
            self.random.shuffle(pairs)
        if self.chance(0.5):
            self.random.shuffle(sections)
        return pairs, sections

    def split(self, path: Keys, relative: Keys, tree: Tree, pairs: Pairs, sections: list[str]) -> None:
        for key, node in tree.items():
            keys, full = (*relative, key), (*path, *relative, key)
            style = self.random.choices("sdi", [self.section + 0.1, self.dotted, self.inline])[0]
            if isinstance(node, str) or style == "i" or (style == "d" and not (isinstance(node, dict) and node)):
                pairs.append((keys, self.inline_node(node)))
            elif isinstance(node, list):
                sections.append("".join(self.element(full, element) for element in node))
            elif style == "d":
                self.split(path, keys, node, pairs, sections)
            else:
                sections += self.own_section(full, node)

    def own_section(self, path: Keys, tree: Tree) -> list[str]:
        pairs, sections = self.table(path, tree)
        if not pairs and sections and self.chance(0.5):
            return sections
        indent = self.random.choice(self.indents)
        own = self.between() + indent + self.header(path) + self.body(pairs, indent + self.random.choice(["", "  "]))
        return [*sections, own] if self.chance(0.2) else [own, *sections]

    def element(self, path: Keys, tree: Tree) -> str:
        pairs, sections = self.table(path, tree)
        indent = self.random.choice(self.indents)
        return indent + self.header(path, ("[[", "]]")) + self.body(pairs, indent) + "".join(sections)

    def document(self, tree: Tree) -> str:
        pairs, sections = self.table((), tree)
        text = self.body(pairs, "") + "".join(sections) + self.between()
        if self.chance(0.2):
            text = text.removesuffix("\n")
        return text.replace("\n", "\r\n") if self.chance(0.2) else text

    # What there is

    def some_keys(self, most: int) -> list[str]:
        return self.random.sample(_KEYS, self.random.randint(0, most))

    def some_table(self, depth: int = 0) -> Tree:
        tree: Tree = {}
        for key in self.some_keys(3):
            kind = self.random.random()
            if depth < 2 and kind < 0.2:
                tree[key] = self.some_table(depth + 1)
            elif depth < 2 and kind < 0.3:
                tree[key] = [self.some_table(depth + 1) for _ in range(self.random.randint(1, 2))]
            else:
                tree[key] = self.value()
        return tree

    def runtime(self) -> Tree:
        tree: Tree = {"runtime_type": self.random.choice(_STRINGS)}
        if self.chance(0.3):
            tree["pod_annotations"] = self.array(['"dev.gvisor.*"', "'x'"])
        if self.chance(0.5):
            tree["options"] = {name: self.value() for name in ("TypeUrl", "ConfigPath", "Extra") if self.chance(0.5)}
        return tree

    def engine(self) -> Tree:
        tree: Tree = {}
        if self.chance(0.4):
            tree["default_runtime_name"] = self.random.choice(['"runc"', "'crun'", '"""kata"""'])
        if self.chance(0.3):
            tree["snapshotter"] = '"native"'
        if self.chance(0.7):
            tree["runtimes"] = {name: self.runtime() for name in NAMES if self.chance(0.35)}
        return tree

    def plugins(self) -> Tree:
        tree: Tree = {}
        if self.chance(0.3):
            tree["io.containerd.internal.v1.opt"] = {"path": "'/var/lib/containerd'"}
        if self.chance(0.8):
            cri: Tree = {}
            if self.chance(0.3):
                cri["sandbox_image"] = '"registry.k8s.io/pause:3.9"'
            if self.chance(0.3):
                cri["cni"] = {"bin_dir": '"/opt/cni/bin"', "conf_dir": "'/etc/cni/net.d'"}
            if self.chance(0.8):
                cri["containerd"] = self.engine()
            tree[CRI] = cri
        return tree

    def configuration(self) -> Tree:
        tree: Tree = {}
        if self.chance(0.6):
            tree["version"] = self.random.choice(["2", "3", "0x2"])
        if self.chance(0.2):
            tree["imports"] = self.array(['"/etc/containerd/conf.d/*.toml"'])
        if self.chance(0.3):
            tree["disabled_plugins"] = self.array(self.random.sample(['"aufs"', "'zfs'", '"#"'], 2))
        if self.chance(0.8):
            tree["plugins"] = self.plugins()
        if self.chance(0.4):
            tree["debug"] = self.some_table()
        if self.chance(0.3):
            tree["stream_processors"] = [self.some_table() for _ in range(self.random.randint(1, 2))]
        if self.chance(0.3):
            tree |= self.some_table()
        if self.chance(0.02):
            # Not what is expected there.
            tree["plugins"] = self.random.choice(['"none"', "1", "[]", '[{ a = 1 }, "x"]'])
        items = list(tree.items())
        self.random.shuffle(items)
        return dict(items)


def _document(random: Random) -> str:
    writer = _Writer(random)
    return writer.document(writer.configuration())


documents: st.SearchStrategy[str] = st.randoms(use_true_random=True).map(_document)
