# Tests of: workflow/rules/, spectrafm/surveys/*/survey.smk, spectrafm/options.py, config.py
"""No value of the configuration reaches a shell as code: it arrives as it is, or is refused."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from spectrafm import options
from spectrafm.config import Config, read_config, schema
from spectrafm.errors import SpectraFMError

REPOSITORY = Path(__file__).parents[1]
TINY = REPOSITORY / "tests/tiny.yaml"

#: What shells, Snakemake and YAML act on; CANARY is a file that must not appear.
PAYLOADS = {
    "substitution": "a$(touch CANARY)b",
    "backticks": "a`touch CANARY`b",
    "semicolon": "a; touch CANARY; b",
    "quotes": """a'b"c'; touch CANARY; '""",
    "all at once": """a '"$(touch CANARY)`touch CANARY`;touch CANARY|&<>*?~#!\\ %s ü☃ ${HOME}""",
    "redirection": "a > CANARY",
    "ampersand": "a & touch CANARY &",
    "braces": "a {output} {wildcards.stage} {b} {{c}} {",
    "spaces": "  a   b  ",
    "unicode": "ü ☃ \U0001f52d \u202e b",
    "dash": "--output=CANARY",
    "percent": "%s %(a)s %%",
    "a number": "1e3",
    "null": "null",
    "a list": "[a, b]",
    "a mapping": "{a: b}",
    "a comment": "# a",
    "backslashes": "a\\n\\$(touch CANARY)",
    "newline": "a\ntouch CANARY\nb",
    "end of line": "a\n",
    "zero": "a\0b",
    "lone surrogate": "a\udcffb",
}

#: Payloads that the quick tests try.
QUICK = ("substitution", "all at once", "braces")

Place = tuple[str | int, ...]


def quickly(*names: str) -> list:
    """All payloads as parameters; those not named are slow."""
    slow = pytest.mark.slow
    return [name if name in names else pytest.param(name, marks=slow) for name in PAYLOADS]


def places(part: dict, whole: dict, above: Place = ()) -> Iterator[Place]:
    """Each place of a schema that holds one value, and each key that a user may choose.

    ``*`` stands for any key of a mapping or entry of a list, and a last ``*key`` for the key.
    """
    if "$ref" in part:
        part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    # Older versions of pydantic wrap a reference in allOf.
    kinds = part.get("anyOf", part.get("allOf", [part]))
    plain = False
    for kind in kinds:
        if kind.keys() & {"$ref", "anyOf", "allOf"}:
            yield from places(kind, whole, above)
        elif kind.get("type") == "object" and "properties" in kind:
            for key, inner in kind["properties"].items():
                yield from places(inner, whole, (*above, key))
        elif kind.get("type") == "object":
            yield (*above, "*key")
            inner = kind.get("additionalProperties") or [*kind["patternProperties"].values()].pop()
            yield from places(inner, whole, (*above, "*"))
        elif kind.get("type") == "array":
            for index, inner in enumerate(kind.get("prefixItems", [])):
                yield from places(inner, whole, (*above, index))
            if "items" in kind:
                yield from places(kind["items"], whole, (*above, "*"))
        else:
            plain = True
    if plain:
        yield above


EVERY_PLACE = sorted(set(places(schema(), schema())), key=str)


def with_value(content: dict, place: Place, value: Any) -> dict:
    """A configuration with ``value`` in one place; ``*`` is the first key of a mapping there."""
    changed = copy.deepcopy(content)
    at = changed
    for step, following in itertools.pairwise(place):
        empty = [] if following == "*" or isinstance(following, int) else {}
        if step == "*" and isinstance(at, list):
            at.append(empty)
            at = at[-1]
            continue
        key = next(iter(at), "x") if step == "*" else step
        if isinstance(at, list):
            at += [empty] * (key + 1 - len(at))
        elif not isinstance(at.get(key), (dict, list)):
            # The commonest mapping of this kind, where the base sets none.
            at[key] = empty
        at = at[key]
    last = place[-1]
    if last == "*key":
        at[value] = next(iter(at.values()), {})
    elif isinstance(at, list):
        at[:] = [value] if last == "*" else [value] * (int(last) + 1)
    else:
        at[next(iter(at), "x") if last == "*" else last] = value
    return changed


@pytest.fixture(scope="module")
def base() -> dict:
    content = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    update_config(content, yaml.safe_load(TINY.read_text()))
    return content


def test_every_key_of_the_typed_configuration_is_a_place():
    """Counted from the sections, so that a new key is covered or noticed here."""
    own = {key for key, _, _ in options._leaves(Config, {})}
    in_schema = {".".join(map(str, place)) for place in EVERY_PLACE}
    covered = in_schema | {re.split(r"\.(?:\*|0)", place)[0] for place in in_schema}
    assert own <= covered
    assert len(EVERY_PLACE) > 100
    strings = {"survey.source", "survey.keep", "figures.star", "labels.*.symbol", "labels.*.unit"}
    strings |= {"run", "base", "resources.*.partition", "stages.*.stars.where", "stages.*key"}
    assert strings <= in_schema


@pytest.mark.parametrize("name", quickly(*QUICK, "null", "a list", "newline", "zero"))
def test_each_value_in_each_place_is_read_as_it_is_or_refused_in_one_line(base, name):
    payload = PAYLOADS[name].replace("CANARY", "canary")
    accepted = 0
    for place in EVERY_PLACE:
        run, refusal = read(with_value(base, place, payload))
        if run is None:
            assert "\n" not in refusal, place
            assert len(refusal) < 6000, place
        else:
            accepted += 1
            found = set(leaves(run.model_dump(mode="json")))
            assert payload in found or (name == "a number" and 1000.0 in found), place
    assert accepted < 20 or name == "a number", "most places take no such text"


#: What YAML makes of texts without quotes, and what stands for nothing, at any depth.
KINDS = {
    "null": None, "true": True, "float": 1000.0, "negative": -1, "huge": 10**30, "infinite": 1e999,
    "empty": "", "list": [], "mapping": {}, "list in a list": [[]], "null in a list": [None],
    "mapping in a list": [{}], "null as a key": {None: 1}, "number as a key": {1: {}},
    "mapping in a mapping": {"x": {}}, "stage": "pretrain", "stages": ["pretrain"],
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [n if n in ("list", "mapping") else pytest.param(n, marks=pytest.mark.slow) for n in KINDS],
)
def test_a_value_of_any_kind_in_any_place_is_read_or_refused_in_one_line(base, name):
    tried = refused = 0
    for place in EVERY_PLACE:
        if place[-1] != "*key":
            tried += 1
            run, refusal = read(with_value(base, place, KINDS[name]))
            refused += run is None
            assert "\n" not in refusal, place
    assert tried > 100
    assert refused > 10


@pytest.mark.parametrize("key", [None, True, 12, 1000.0])
def test_a_key_that_yaml_reads_as_no_text_is_named(base, key):
    places = [place for place in EVERY_PLACE if place[-1] == "*key"]
    assert len(places) >= 4
    for place in places:
        run, refusal = read(with_value(base, place, key))
        assert run is None, place
        assert f"the key {key!r} is no text" in refusal, place
        assert place[0] in refusal


def read(content: dict) -> tuple[Config | None, str]:
    """The configuration, or why it is refused."""
    try:
        return read_config(content), ""
    except SpectraFMError as error:
        return None, str(error)


def leaves(value: Any) -> Iterator[Any]:
    """Every text in nested values, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


#: Targets whose jobs are, together, of every rule.
TARGETS = ("all", "attention", "fewshot", "learning_curve", "verify")


def shell_lines(
    folder: Path, content: dict, targets: Sequence[str], *below: Path
) -> dict[str, list[str]]:
    """The shell lines of the jobs of each rule that some targets need, from Snakemake.

    The configuration overrides the files ``below``.
    """
    script = REPOSITORY / "tests/making/shell_lines.py"
    configuration = folder / "changed.yaml"
    configuration.write_text(yaml.safe_dump(content, allow_unicode=True))
    done = subprocess.run(
        [sys.executable, script, folder, ",".join(targets), *below, configuration],
        capture_output=True, text=True, check=False, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


#: Stands in for each command of the workflow: it notes the words that it was given.
STAND_IN = """#!/bin/bash
printf '%s\\0' "$0" "$@" > "$NOTES/$BASHPID.$RANDOM"
"""


def given_words(folder: Path, lines: list[str]) -> list[list[str]]:
    """Run the shell lines on harmless stand-ins; the words that each command was given."""
    bin_, notes, work = folder / "bin", folder / "notes", folder / "work"
    for made in (bin_, notes, work):
        made.mkdir()
    for name in ("spectrafm", "torchrun"):
        (bin_ / name).write_text(STAND_IN)
        (bin_ / name).chmod(0o755)
    environment = {"PATH": f"{bin_}:/usr/bin:/bin", "NOTES": str(notes), "HOME": str(work)}
    for line in lines:
        for log in re.findall(r"results/\S+\.log", line):
            (work / log).parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["/bin/bash", "-c", f"set -euo pipefail; {line}"],
            cwd=work, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
    made = {path.name for path in work.rglob("*") if path.is_file()}
    assert all(name.endswith(".log") for name in made), made
    found = [path.read_bytes().decode().split("\0")[1:-1] for path in notes.iterdir()]
    assert len(found) == len(lines)
    return found


#: Options that are no part of a section: the command takes their text as it is.
RAW = ("--star=", "--name=")


def values_in(word: str) -> Iterator[Any]:
    """The texts that a command reads in one of its words, names in a path among them."""
    yield word
    if not word.startswith("-"):
        yield from re.split(r"/|--|\.", word)
    text = word.partition("=")[2]
    if word.startswith(RAW):
        yield text
    elif word.startswith("--") and text:
        yield from leaves(options._value_of(text))


@pytest.mark.parametrize(
    ("mock", "name"),
    [
        pytest.param(
            mock, name,
            marks=[] if name == {True: QUICK[0], False: QUICK[1]}[mock] else pytest.mark.slow,
        )
        for mock in (True, False)
        for name in PAYLOADS
    ],
)  # fmt: skip
def test_the_rules_give_each_value_to_one_command_as_one_word(base, tmp_path, name, mock):
    """All places that take a value, each with a value of its own, in one run of the rules."""
    content = base if mock else base | {"mock": None}
    values: dict[str, Place] = {}
    for number, place in enumerate(EVERY_PLACE):
        if place == ("base",):
            continue  # a file that Snakemake reads
        value = f"{PAYLOADS[name]}{number}".replace("CANARY", f"canary{number}")
        changed = with_value(content, place, value)
        if read(changed)[0] is not None:
            content, values[value] = changed, place
    targets = (*TARGETS, *read_config(content).families)
    lines = shell_lines(tmp_path, content, targets, REPOSITORY / "config.yaml", TINY)
    assert {
        "train",
        "fetch_spectra",
        "figure1",
        "verify",
        "table_draws",
        "table_calibration",
    } <= lines.keys()
    assert ("mock_survey" in lines) == mock
    words = given_words(tmp_path, [*itertools.chain.from_iterable(lines.values())])
    arrived = {text for line in words for word in line for text in values_in(word)}
    lost = {value: place for value, place in values.items() if value not in arrived}
    # Those are for the scheduler, which the plugin of the cluster asks; they hold no such letters.
    lost = {value: place for value, place in lost.items() if place[0] != "resources"}
    assert not lost
    if name in ("substitution", "all at once"):
        free = {("survey", "keep"), ("figures", "star"), ("labels", "*", "symbol")}
        if not (mock and "{" in PAYLOADS[name]):  # Braces would be wildcards in an output.
            free.add(("survey", "source"))
        assert free <= set(values.values())


@pytest.mark.parametrize(
    ("survey", "name"),
    [
        pytest.param(survey, name, marks=[] if name == QUICK[0] else pytest.mark.slow)
        for survey in ("own", "gaia_xp")
        for name in PAYLOADS
    ],
)
def test_the_rules_of_other_surveys_give_each_value_as_one_word(tmp_path, survey, name):
    """All places of the section ``survey``, whose keys each survey has for itself."""
    content = yaml.safe_load((REPOSITORY / f"configs/{survey}.yaml").read_text())
    whole = type(read_config(content)).model_json_schema()
    own = sorted({place for place in places(whole, whole) if place[0] == "survey"}, key=str)
    assert len(own) >= 6
    values: dict[str, Place] = {}
    for number, place in enumerate(own):
        value = f"{PAYLOADS[name]}{number}".replace("CANARY", f"canary{number}")
        changed = with_value(content, place, value)
        if read(changed)[0] is not None:
            content, values[value] = changed, place
    if name in QUICK[:2]:
        free = {"own": {"normalisation"}, "gaia_xp": {"source"}}[survey]
        if survey == "own" and "{" not in PAYLOADS[name]:
            free.add("table")
        assert free <= {place[1] for place in values.values()}
    if survey == "own":
        (tmp_path / content["survey"]["table"]).touch()
    words = given_words(
        tmp_path,
        [*itertools.chain.from_iterable(shell_lines(tmp_path, content, ["store"]).values())],
    )
    arrived = {text for line in words for word in line for text in values_in(word)}
    # A key that is a number takes a text that is one, and gives the number.
    numbers = {value for value in arrived if isinstance(value, int | float)}
    assert not [text for text in values.keys() - arrived if number_of(text) not in numbers]


def number_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@pytest.mark.slow
@pytest.mark.parametrize("place", ["a b", "o'brien", "$(touch canary)", "{x}", "a;b", "ü"])
def test_a_checkout_may_lie_anywhere(tmp_path, place):
    folder = tmp_path / place
    for name in ("Snakefile", "config.yaml", "configs", "demo", "envs", "spectrafm", "workflow"):
        source = REPOSITORY / name
        copied = shutil.copytree if source.is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copied(source, folder / name)
    done = subprocess.run(
        [Path(sys.executable).parent / "snakemake", "--cores", "1", "--dry-run", "all"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.rglob("canary"))


def test_every_value_in_every_rule_is_quoted():
    patterns = ("workflow/rules/*.smk", "spectrafm/surveys/*/*.smk")
    files = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
    assert len(files) >= 6
    found = 0
    for path in files:
        for block in re.findall(r'shell:\n((?: +(?:r|f)?".*\n)+)', path.read_text()):
            fields = re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", block)
            found += len(fields)
            assert all(field.endswith(":q") for field in fields), (path, fields)
    assert found > 60


def test_shlex_and_snakemake_quote_alike():
    from snakemake.utils import format as snakemake_format

    for value in PAYLOADS.values():
        if "\0" not in value:
            assert snakemake_format("{x:q}", x=[value]) == shlex.quote(value)
