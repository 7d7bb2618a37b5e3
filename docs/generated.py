"""Parts of pages that are made from the code when the site is built, never kept by hand.

The line ``<!-- generated: commands -->`` in a page stands for the Markdown that `commands` returns,
and so on for each function of `PARTS`.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]

MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def fill(text: str) -> str:
    """Return the text of a page with its generated parts."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)


def cell(text: str) -> str:
    """Text of a table's cell: one line, in which no bar ends the cell."""
    return " ".join(str(text).replace("|", "\\|").split())


def first_line(where: str) -> str:
    """First line of the docstring of a module, or of ``module:function``."""
    from importlib import import_module

    from spectrafm.plugs import load

    thing = load(where) if ":" in where else import_module(where)
    return markdown((inspect.getdoc(thing) or "").splitlines()[0])


def markdown(text: str) -> str:
    """Text of a docstring as Markdown: one backquote where it has two."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def commands() -> str:
    """Every command by purpose, with its own ``--help``."""
    from spectrafm.cli import GROUPS, build_parser
    from spectrafm.plugs import load

    # The width of argparse's help.
    os.environ["COLUMNS"] = "100"
    lines = []
    for title, group in GROUPS.items():
        lines += [f"## {title}", ""]
        for name, where in group.items():
            text = build_parser(name, load(where)).format_help().rstrip()
            lines += [f"### {name}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def options() -> str:
    """Every key of a configuration, from the schema that `spectrafm.config` checks it with."""
    from spectrafm.config import schema

    whole = schema()
    shared = whole["$defs"]
    parts = []
    for name, entry in whole["properties"].items():
        inner = shared.get(_reference(entry) or "")
        about = entry.get("description") or (inner or {}).get("description", "")
        parts += [f"## `{name}`", "", markdown(about), ""]
        if inner is None:
            continue
        named = f"{name}.NAME." if "patternProperties" in entry else f"{name}."
        rows = [
            (f"`{key}`", _kind(field), f"`{json.dumps(field['default'], ensure_ascii=False)}`"
             if "default" in field else "required", markdown(field.get("description", "")))
            for key, field in _leaves(inner, shared, named)
        ]  # fmt: skip
        parts += [table(("key", "type", "default", "meaning"), rows), ""]
    return "\n".join(parts)


def _reference(entry: Mapping[str, Any]) -> str | None:
    """Name of the section that an entry of the schema refers to; None: it is no section."""
    choices = [entry, *entry.get("anyOf", ()), *entry.get("patternProperties", {}).values()]
    found = (choice["$ref"] for choice in choices if "$ref" in choice)
    return next((reference.rpartition("/")[2] for reference in found), None)


def _leaves(
    section: Mapping[str, Any], shared: Mapping[str, Any], above: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, field in section.get("properties", {}).items():
        inner = _reference(field)
        if inner and "properties" in shared[inner]:
            yield from _leaves(shared[inner], shared, f"{above}{key}.")
        else:
            yield f"{above}{key}", field


def _kind(field: Mapping[str, Any]) -> str:
    """Type of a key in words."""
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    choices = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    if choices:
        return " or ".join(dict.fromkeys(map(_kind, choices)))
    words = {"array": "list", "object": "mapping", "string": "text", "boolean": "true or false"}
    return words.get(field.get("type", "object"), field.get("type", "mapping"))


def networks() -> str:
    """Table of the networks."""
    from spectrafm.networks import NETWORKS

    rows = [
        (f"`{name}`", network.title, "any pixels" if network.reads == "tokens" else "a fixed grid",
         first_line(network.where))
        for name, network in NETWORKS.items()
    ]  # fmt: skip
    return table(("name", "title", "reads", "what it is"), rows)


def flags() -> str:
    """Table of the flags."""
    from spectrafm.inference.flags import FLAGS

    return table(("flag", "meaning"), [(f"`{name}`", meaning) for name, meaning in FLAGS.items()])


def cards() -> str:
    """Model cards of the models that the package brings."""
    texts = []
    for path in sorted((REPOSITORY / "spectrafm/models").glob("*/README.md")):
        # The card's metadata, which hubs of models read, are no part of its text.
        text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text("utf-8"), flags=re.DOTALL)
        # The name of the model, then its card with headings one level deeper.
        deeper = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
        texts.append(f"## `{path.parent.name}`\n\n{re.sub('^## .*', '', deeper, count=1)}")
    return "\n\n".join(texts) or "This version of the package brings no trained model."


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (commands, options, networks, flags, cards)
}


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx fill in the parts when it reads a page."""

    def read(app: Any, page: str, source: list[str]) -> None:
        source[0] = fill(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
