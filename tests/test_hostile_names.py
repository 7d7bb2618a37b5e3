# Tests of: spectrafm/surveys/apogee/paths.py, archive/http.py, options.py
"""Names come from a catalogue, hence from outside: no path leaves the root, no shell sees them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from making.sas_tree import aspcapstar_bytes, make_tree, row
from making.survey_run import Run
from spectrafm.archive.http import url_of
from spectrafm.config import Config
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import paths

REPOSITORY = Path(__file__).parents[1]
COLUMNS = ("TELESCOPE", "FIELD", "APOGEE_ID")
GOOD = {"TELESCOPE": "apo25m", "FIELD": "000+02", "APOGEE_ID": "2M00000032+5737103"}

HOSTILE = [
    "..",
    ".",
    "",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows",
    "C:\\x",
    "a/../../b",
    "a..b",
    "%2e%2e%2fetc",
    "%2e%2e",
    "2M1; rm -rf ~",
    "$(touch outside)",
    "`id`",
    "a|b",
    "a b",
    "2M1\n2M2",
    "2M1\n",
    "2M1\x00/../x",
    "-rf",
    "--output=x",
    ".hidden",
    "~root",
    "2M1?x=1",
    "2M1#frag",
    "//host/share",
    "http://host/x",
    "*",
    "2M{wildcards.x}",
    "'; DROP TABLE stars; --",
    "２Ｍ１",
    "2M\u0661",
    "\u2025/x",
    "2M1\u202e",
    "é",
    "\udcff",
    "A" * 65,
    "A" * 100_000,
]

GENUINE = {
    "TELESCOPE": ["apo25m", "apo1m", "lco25m"],
    "FIELD": [
        "000+02", "000+02-C", "K04_083+13", "293-37-C", "M67", "N2243-RV", "N6791", "M5PAL5",
        "GD1-1", "LMC1", "Omegacen", "TRIAND-3", "COL261", "060+00_MGA", "K2_C4_168-21",
        "RCB", "12073_rc", "JHelum-2", "Berkeley.29", "moving_groups", "120-08-RV", "N1333",
    ],
    "APOGEE_ID": [
        "2M00000032+5737103", "AP00425080+4117074", "VESTA", "2M19485057+5005279",
        "2M05320969-6708592", "GaiaEDR3.12345", "HIP23", "2MJ1234.5-678", "CL_2243-32",
    ],
}  # fmt: skip


def paths_of(names: dict[str, str]) -> list[str]:
    """Every path that is made of a row's names."""
    telescope, field, star = (names[column] for column in COLUMNS)
    survey = ("dr17", "synspec_rev1")
    return [
        paths.aspcapstar_path(*survey, telescope, field, star),
        paths.sha1sum_path(*survey, telescope, field),
        paths.field_folder(*survey, telescope, field),
    ]


def assert_inside(path: str, root: Path, depth: int) -> None:
    """The path, and the URL made of it, are ``depth`` plain components below the root."""
    assert (root / path).resolve() == root.joinpath(*path.split("/"))
    assert len(path.split("/")) == depth
    assert re.fullmatch(r"[\x21-\x7e]+", path)
    url = url_of("https://data.sdss.org/sas", path)
    assert (url.host, url.query_string, url.fragment) == ("data.sdss.org", "", "")
    assert unquote(url.raw_path) == url.raw_path == f"/sas/{path}"


def assert_all_inside(names: dict[str, str], root: Path) -> None:
    for path, depth in zip(paths_of(names), (9, 9, 8), strict=True):
        assert_inside(path, root, depth)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:24])
def test_a_hostile_name_is_refused(column, value):
    with pytest.raises(SpectraFMError, match=column):
        paths_of(GOOD | {column: value}) and paths.safe_component(value, column)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "//host/a", "a\nb", "\udcff"],
)
def test_no_url_is_made_of_a_path_that_leads_elsewhere(path):
    with pytest.raises(SpectraFMError, match="not a path below the root of the archive"):
        url_of("https://data.sdss.org/sas", path)


def hostile_names(count: int, seed: int) -> list[str]:
    """Names that mix genuine pieces with everything that paths, URLs and shells act on."""
    generator = np.random.default_rng(seed)
    pieces = [
        *(name for names in GENUINE.values() for name in names), *HOSTILE[:-2],
        "/", "\\", "..", ".", "-", "+", "_", "%2f", "%00", "\x00", "\n", "\r", "\t", " ", "~", ";",
        "&", "|", "$", "`", "'", '"', "<", ">", "(", ")", "{", "}", "*", "?", "[", "]", "!", "#",
        "@", ":", "=", ",", "^", "\x7f", "\x1b[2J", "\u0130", "\u212a", "\uff0f", "\u2215",
    ]  # fmt: skip
    names = []
    for number in range(count):
        if number % 4 == 0:
            code = generator.integers(1, 0x500, generator.integers(1, 40))
            names.append("".join(map(chr, code)))
        else:
            names.append("".join(generator.choice(pieces, generator.integers(1, 5))))
    return names


def test_no_generated_name_leads_outside():
    root = Path("/nowhere/sas")
    accepted = refused = 0
    for number, name in enumerate(hostile_names(10_000, seed=3)):
        names = GOOD | {COLUMNS[number % 3]: name}
        try:
            assert_all_inside(names, root)
        except SpectraFMError:
            refused += 1
        else:
            accepted += 1
            assert re.fullmatch(r"[A-Za-z0-9+_][A-Za-z0-9+_.-]*", name), ascii(name)
    assert accepted + refused == 10_000
    assert accepted > 500, "pieces of genuine names make genuine names"
    assert refused > 5000


def genuine_names(count: int, seed: int) -> list[dict[str, str]]:
    """Rows named as DR17 names them: by coordinates, by cluster, by target list."""
    generator = np.random.default_rng(seed)

    def digits(length: int) -> str:
        return "".join(map(str, generator.integers(0, 10, length)))

    rows = []
    for _ in range(count):
        sign = generator.choice(["+", "-"])
        field = generator.choice(
            [
                f"{digits(3)}{sign}{digits(2)}",
                f"{digits(3)}{sign}{digits(2)}-{generator.choice(['C', 'O', 'RV', 'MGA'])}",
                f"K{digits(2)}_{digits(3)}{sign}{digits(2)}",
                f"K2_C{digits(1)}_{digits(3)}{sign}{digits(2)}",
                f"{generator.choice(['M', 'N', 'IC', 'PAL'])}{digits(4)}",
                str(generator.choice(GENUINE["FIELD"])),
            ]
        )
        star = generator.choice(
            [
                f"{generator.choice(['2M', 'AP'])}{digits(8)}{sign}{digits(7)}",
                str(generator.choice(GENUINE["APOGEE_ID"])),
            ]
        )
        telescope = str(generator.choice(GENUINE["TELESCOPE"]))
        rows.append({"TELESCOPE": telescope, "FIELD": str(field), "APOGEE_ID": str(star)})
    return rows


def test_no_genuine_name_is_refused():
    root = Path("/nowhere/sas")
    for column, names in GENUINE.items():
        for name in names:
            assert_all_inside(GOOD | {column: name}, root)
    for names in genuine_names(10_000, seed=4):
        assert_all_inside(names, root)


# The whole way from a catalogue to the store.

OPENED: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if OPENED is not None and event in ("open", "os.mkdir", "os.rename", "os.remove"):
        OPENED.append(str(arguments[0]))


sys.addaudithook(_watch)


def test_a_hostile_catalogue_reaches_no_file_outside(tmp_path, monkeypatch):
    """A file that hostile names point to is there, whole and of the right star, and not opened."""
    fits_text = [value for value in HOSTILE if len(value) <= 30 and ord(max(value or "a")) < 256]
    rows = [row("2M1"), row("2M2", FIELD="293-37-C")]
    hostile = [
        row("2M9", SNR=900.0) | {column: value.encode("latin-1")}
        for column, width in (("APOGEE_ID", 30), ("FIELD", 20), ("TELESCOPE", 6))
        for value in fits_text
        if len(value) <= width
    ]
    assert len(hostile) >= 60
    tree = make_tree(tmp_path / "sas", rows)
    bait = aspcapstar_bytes(row("2M9"))
    up = "../" * 9
    for path in (tmp_path / "bait.fits", tmp_path / "sas/bait.fits"):
        path.write_bytes(bait)
    hostile += [row(f"{up}bait"), row(f"{up[3:]}bait"), row("2M9", FIELD=f"{up[:15]}")]
    _write_bytes_allstar(tree.allstar, rows + hostile)

    monkeypatch.setattr(sys.modules[__name__], "OPENED", [])
    run = Run(tmp_path / "run", tree).all()
    opened = list(OPENED)
    monkeypatch.setattr(sys.modules[__name__], "OPENED", None)

    assert sorted(read(open_store(run.store), "apogee_id")) == ["2M1", "2M2"]
    assert read_parquet(run.alternates).empty
    assert read_parquet(run.missing).empty
    cuts = pd.read_csv(run.cuts).set_index("cut")["rows"]
    assert cuts["all rows"] == len(rows) + len(hostile)
    assert cuts["no unsafe name (TELESCOPE FIELD APOGEE_ID)"] == 2
    assert any(path.endswith("aspcapStar-dr17-2M1.fits") for path in opened), "the watch works"
    assert not [path for path in opened if "bait" in path or ".." in path]
    assert not [path for path in opened if path.startswith(("/etc", "//host"))]


def _write_bytes_allstar(path: Path, rows: list[dict]) -> None:
    """A catalogue whose text is whatever bytes the rows hold, NUL and Latin-1 among them."""
    from astropy.io import fits

    from making.sas_tree import COLUMNS as CATALOGUE

    kinds = {"A": "S", "D": ">f8", "E": ">f4", "K": ">i8"}
    table = np.zeros(
        len(rows), [(name, kinds[code[-1]] + code[:-1]) for name, code, _ in CATALOGUE]
    )
    for number, line in enumerate(rows):
        for name in table.dtype.names:
            table[name][number] = line[name]
    path.unlink()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table)]).writeto(path)


# Shells.


def test_shell_lines_hold_no_value_of_the_catalogue():
    """Wildcards are a number or names from the configuration; no rule reads a table."""
    found = (*REPOSITORY.glob("workflow/rules/*.smk"), *REPOSITORY.glob("spectrafm/**/*.smk"))
    rules = {path: path.read_text() for path in sorted(found)}
    assert {path.name for path in rules} >= {"common.smk", "survey.smk", "training.smk"}
    for path, text in rules.items():
        assert set(re.findall(r"wildcards\.(\w+)", text)) <= {"shard", "stage", "evaluation"}, path
        assert not re.findall(r"read_parquet|read_csv|read_allstar|pandas|checkpoint ", text), path
        for options in re.findall(r"\{params\.options[^}]*\}", text):
            assert options == "{params.options:q}", path
    common = next(text for path, text in rules.items() if path.name == "common.smk")
    assert 'shard=r"\\d+"' in common


@pytest.mark.parametrize("name", ["a;b", "a b", "../a", "a\n", "$(id)", "", "é", "a/b"])
def test_names_in_the_configuration_are_plain(name):
    with pytest.raises(ValidationError):
        Config(run=name)
    with pytest.raises(ValidationError):
        Config(stages={name: {}})
    with pytest.raises(ValidationError):
        Config(survey={"release": name})


def test_the_package_starts_no_shell():
    for path in REPOSITORY.glob("spectrafm/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("os.system", "os.popen", "subprocess.getoutput"), path
            assert "create_subprocess_shell" not in called, path
            assert "shell" not in {keyword.arg for keyword in node.keywords}, path
