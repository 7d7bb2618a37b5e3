# Tests of: spectrafm/reading.py
"""Text is UTF-8 whatever the locale is: every call that reads or writes text says so."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from making import fabricated

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "spectrafm"

#: Calls of text, and the place of the argument that names the encoding.
CALLS = {"read_text": 0, "write_text": 1, "open": 3, "TextIOWrapper": 1}


def text_calls(path: Path) -> Iterator[tuple[int, bool]]:
    """Line of each call that reads or writes text, and whether it names the encoding."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        of_module = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
        owner = node.func.value.id if of_module else ""
        if name in ("run", "Popen", "check_output") and owner == "subprocess":
            if {"text", "universal_newlines", "encoding"} & keywords.keys():
                yield node.lineno, "encoding" in keywords
        elif name == "open" and owner in ("os", "fits", "Image"):
            continue
        elif name in CALLS and owner != "files" and not _ours(path, name, node):
            mode = keywords.get("mode", node.args[1] if len(node.args) > 1 else None)
            if name == "open" and isinstance(node.func, ast.Attribute):
                mode = keywords.get("mode", node.args[0] if node.args else None)
            # A mode that is computed is one of bytes here.
            text = mode is None or (isinstance(mode, ast.Constant) and "b" not in str(mode.value))
            if name == "open" and not text:
                continue
            yield node.lineno, "encoding" in keywords or len(node.args) > CALLS[name]


def _ours(path: Path, name: str, node: ast.Call) -> bool:
    """Whether a call is of `spectrafm.files.write_text` or `spectrafm.reading.read_text`."""
    return isinstance(node.func, ast.Name) and name in ("read_text", "write_text")


def test_every_call_of_text_names_its_encoding():
    found = [
        (f"{path.relative_to(REPOSITORY)}:{line}", named)
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, named in text_calls(path)
    ]
    assert not [place for place, named in found if not named]
    assert len(found) >= 6, "the search finds the calls that there are"


def test_a_call_without_its_encoding_is_found(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "open(a)\nopen(a, 'rb')\nopen(a, 'w')\nopen(a, encoding='utf-8')\n"
        "p.read_text()\np.read_text('utf-8')\np.write_text(x)\np.write_text(x, 'utf-8')\np.open()\n"
        "subprocess.run(a, text=True)\nsubprocess.run(a, text=True, encoding='utf-8')\n",
        "utf-8",
    )
    assert list(text_calls(path)) == [
        (1, False), (3, False), (4, True), (5, False), (6, True), (7, False), (8, True), (9, False),
        (10, False), (11, True),
    ]  # fmt: skip


def latin1_locale(folder: Path) -> dict[str, str] | None:
    """Variables of a locale whose encoding is ISO-8859-1; None where none can be made."""
    if shutil.which("localedef") is None:
        return None
    made = subprocess.run(
        ["localedef", "-c", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if not (folder / "en_US.ISO-8859-1").exists():
        print(made.stderr)
        return None
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


@pytest.mark.parametrize("locale", ["C", "ISO-8859-1"])
def test_a_report_is_the_same_in_every_locale(tmp_path, locale):
    variables = {"LC_ALL": "C"} if locale == "C" else latin1_locale(tmp_path)
    if variables is None:
        pytest.skip("no locale of ISO-8859-1 can be made here")
    environment = {
        **os.environ, **variables, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    python = [sys.executable, "-c", "import locale; print(locale.getpreferredencoding(False))"]
    encoding = subprocess.run(python, env=environment, capture_output=True, check=True).stdout
    assert b"UTF-8" not in encoding, "the locale is in force"
    folder = fabricated.write_run(tmp_path / "run")
    funnel = folder / "catalogue/funnel.csv"
    funnel.write_text(funnel.read_text("utf-8") + "1.515–1.694 µm (é),7,7\n", "utf-8")
    commands = "cli.main(['report', 'report.html']) or cli.main(['verify', '.'])"
    done = subprocess.run(
        [sys.executable, "-c", f"from spectrafm import cli; raise SystemExit({commands})"],
        cwd=folder, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"report.html: " in done.stdout
    page = (folder / "report.html").read_text("utf-8")
    assert "1.515–1.694 µm (é)" in page
    assert "Â" not in page
