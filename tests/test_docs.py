# Tests of: docs/
"""The site: every page is in a contents, every link leads to a file, every command shown exists."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from spectrafm.cli import COMMANDS, build_parser
from spectrafm.plugs import load

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = {str(path.relative_to(DOCS))[:-3]: path for path in sorted(DOCS.rglob("*.md"))}
TEXTS = [*PAGES.values(), *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING"))]


def listed(text: str) -> list[str]:
    """Pages in the tables of contents of a page."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


def lost_links(text: str, folder: Path) -> list[str]:
    """Relative links and images of a page that lead to no file."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    inside = [link.partition("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]
    return [link for link in inside if not (folder / link).exists()]


def blocks(text: str, *languages: str) -> list[str]:
    """Code blocks of some languages."""
    fence = re.compile(r"^```(.*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [body for language, body in fence.findall(text) if language.strip() in languages]


def commands(text: str) -> list[list[str]]:
    """Words of each `spectrafm` command in the code blocks of a page."""
    found = []
    for block in blocks(text, "", "bash", "{code-cell} ipython3"):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"!?spectrafm [a-z]", line.strip()):
                words = shlex.split(line.strip().lstrip("!"), comments=True)
                found.append(words[1:])
    return found


def faults(words: list[str]) -> list[str]:
    """What of a command line does not exist: the command, or an option of it."""
    command, *rest = words
    if command not in COMMANDS:
        return [f"no command {command}"]
    parser = build_parser(command, load(COMMANDS[command]))
    known = {name for action in parser._actions for name in action.option_strings}
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    return [f"{command}: no option {name}" for name in given if name not in known]


def unparsed(text: str) -> list[str]:
    """Python in a page that does not parse; cells with shell commands are left out."""
    bad = []
    for block in blocks(text, "python", "{code-cell} ipython3"):
        lines = [line for line in block.splitlines() if not line.startswith((":", "!"))]
        if any(line.startswith("%%") for line in lines):
            continue
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            bad.append(str(error))
    return bad


def test_every_page_is_in_a_table_of_contents():
    contents = [
        str((path.parent / name).relative_to(DOCS))
        for path in PAGES.values()
        for name in listed(path.read_text("utf-8"))
    ]
    assert sorted(contents) == sorted(set(PAGES) - {"index"})
    assert len(contents) > 15


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_commands_and_code_of_a_page(path):
    text = path.read_text("utf-8")
    assert not lost_links(text, path.parent)
    assert not [fault for words in commands(text) for fault in faults(words)]
    assert not unparsed(text)


def test_what_a_page_may_have_wrong_is_found():
    assert lost_links("[a](nowhere.md#x) [b](https://x.org) [c](#d)", DOCS) == ["nowhere.md"]
    text = "```\nspectrafm predict a b --outptu c\nspectrafm perdict a\n```\n"
    found = [fault for words in commands(text) for fault in faults(words)]
    assert found == ["predict: no option --outptu", "no command perdict"]
    assert unparsed("```python\na = (\n```\n")
    assert sum(len(commands(path.read_text("utf-8"))) for path in TEXTS) > 25


def test_generated_parts_are_known():
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    marks = {
        mark for path in PAGES.values() for mark in generated.MARK.findall(path.read_text("utf-8"))
    }
    assert marks == set(generated.PARTS)
    for command in COMMANDS:
        assert f"### {command}\n" in generated.commands()
        break
    assert "`model.token.width`" in generated.options()
    assert "MOCK_TRAINED" in generated.flags()
    assert "| `mlp` |" in generated.networks()


@pytest.mark.slow
@pytest.mark.limit(900)
def test_the_site_is_built_without_a_warning(tmp_path):
    own = REPOSITORY / "build/docs-env/bin/python"
    python = str(own) if own.exists() else sys.executable
    if not own.exists() and importlib.util.find_spec("sphinx") is None:
        pytest.skip("Sphinx is not installed: `make docs` has not been run")
    build = [python, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in PAGES:
        assert (tmp_path / "html" / f"{page}.html").stat().st_size > 1000
