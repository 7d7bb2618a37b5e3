# Tests of: spectrafm/networks/saved.py, networks/untrusted.py
"""Models' folders made by an attacker, or damaged: refused in one line, and nothing of them is run.

The attacker can write anything, so every folder comes with SHA-256 that are right for it, unless
the checksums are what is wrong.
"""

import ast
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrafm
from making.toy_training import TINY as MODEL
from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.integrity import write_checksums
from spectrafm.labels import PAPER_LABELS
from spectrafm.networks import saved
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.transformer import SpectraFM
from spectrafm.reading import MOST_VALUES
from spectrafm.training.options import Stage

FLIPS = 1000
TRUNCATIONS = 300
SIGNED_FLIPS = 1000
MEMORY = 512  # MB, with torch, which takes up to 430
BEYOND = 128  # MB more than a wholesome model takes
MOST = MOST_VALUES // 2 - 200  # empty lists, of which each counts as two values
SECONDS = 10


STAGE = Stage(
    spectra="synthetic",
    windows=[[15_152.2, 16_943.6]],
    labels=["TEFF", "LOGG", "O_FE", "MG_FE", "FE_H"],
    sampling={"tokens": 24},
    epochs=1,
)


def write_model(folder: Path, network) -> Path:
    folder.mkdir()
    facts = {
        "stage_name": "base",
        "stage": STAGE.model_dump(mode="json"),
        "tokens": 24,
        "training_star_count": 96,
    }
    saved.save_pretrained(folder, network, facts)
    files.write_text(folder / "README.md", "# base\n")
    files.write_text(folder / "metrics.csv", "epoch,training_loss\n1,0.5\n")
    write_checksums(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_model(tmp_path_factory.mktemp("models") / "base", SpectraFM(MODEL, PAPER_LABELS))


def sign(folder: Path) -> None:
    """SHA-256 that are right for whatever lies in the folder, links followed."""
    lines = [
        f"{files.sha256_of_file(path)}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != saved.CHECKSUMS and path.stat().st_size <= 1 << 30
    ]
    (folder / saved.CHECKSUMS).write_text("".join(lines))


class Payload:
    """What a pickle runs when it is loaded."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


# Attacks on the weights. Each takes the folder and the file that must not come to be.


def weights_are(make):
    def attack(folder, canary):
        (folder / saved.WEIGHTS).write_bytes(make(folder, canary))

    return attack


def torch_zip(folder, canary):
    torch.save({"x": Payload(canary)}, folder / "x")
    content = (folder / "x").read_bytes()
    (folder / "x").unlink()
    return content


def numpy_objects(folder, canary):
    np.save(folder / "x.npy", np.array([Payload(canary)], dtype=object))
    content = (folder / "x.npy").read_bytes()
    (folder / "x.npy").unlink()
    return content


def container(header, data=b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_header(change):
    """The model's own weights under a changed header."""

    def make(folder, canary):
        content = (folder / saved.WEIGHTS).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        first = min(name for name in header if name != "__metadata__")
        return container(change(header, first) or header, content[8 + length :])

    return weights_are(make)


def entry(**changes):
    return with_header(lambda header, first: header[first].update(changes))


def with_tensors(change):
    """Other tensors, in a sound file."""

    def attack(folder, canary):
        tensors = load_file(folder / saved.WEIGHTS)
        change(tensors)
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / saved.WEIGHTS)

    return attack


def value(number):
    def change(tensors):
        tensors["head.mean.bias"][0] = number

    return with_tensors(change)


def overlapping(header, first):
    second = sorted(name for name in header if name != "__metadata__")[1]
    header[second] = header[first]


def many_tensors(folder, canary):
    """A header just below what the format allows."""
    names = (f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(1_500_000))
    return container(("{" + ",".join(names) + "}").encode())


def sparse(size):
    def attack(folder, canary):
        with open(folder / saved.WEIGHTS, "r+b") as handle:
            handle.truncate(size)

    return attack


def header_length(length):
    return weights_are(lambda folder, canary: struct.pack("<Q", length) + b"{}")


WEIGHTS = {
    "a pickle": weights_are(lambda folder, canary: pickle.dumps(Payload(canary))),
    "a pickle of protocol 0": weights_are(lambda folder, canary: pickle.dumps(Payload(canary), 0)),
    "torch.save": weights_are(torch_zip),
    "numpy objects": weights_are(numpy_objects),
    "header of 2^63 bytes": header_length(2**63),
    "header of 99 MB that are not there": header_length(99_000_000),
    "header of 2^64 - 1 bytes": header_length(2**64 - 1),
    "header of 90 MB": weights_are(many_tensors),
    "header that is no JSON": weights_are(lambda folder, canary: container(b"!!python/none")),
    "header that is a list": weights_are(lambda folder, canary: container([])),
    "header nested deeply": weights_are(lambda folder, canary: container(b"[" * 500_000)),
    "header alone": weights_are(lambda folder, canary: container({})),
    "nothing": weights_are(lambda folder, canary: b""),
    "seven bytes": weights_are(lambda folder, canary: b"1234567"),
    "overlapping offsets": with_header(overlapping),
    "offsets beyond the end": entry(data_offsets=[0, 2**40]),
    "offsets of 2^64": entry(data_offsets=[0, 2**64]),
    "negative offsets": entry(data_offsets=[-4, 0]),
    "offsets backwards": entry(data_offsets=[8, 4]),
    "shape that overflows": entry(shape=[2**63, 2**63]),
    "negative shape": entry(shape=[-1]),
    "shape of text": entry(shape="[16]"),
    "type that is none": entry(dtype="OBJECT"),
    "type of code": entry(dtype="__import__('os').system('touch x')"),
    "metadata that is code": with_header(
        lambda header, first: header.update(__metadata__={"format": {"!!python/name": "os"}})
    ),
    "trailing bytes": weights_are(lambda f, canary: (f / saved.WEIGHTS).read_bytes() + b"more"),
    "1 TB of nothing": sparse(1 << 40),
    "1 GB of nothing": sparse(1 << 30),
    "half precision": with_tensors(lambda t: t.update({n: x.half() for n, x in t.items()})),
    "integers": with_tensors(lambda t: t.update({n: x.int() for n, x in t.items()})),
    "a longer tensor": with_tensors(lambda t: t.update({"head.mean.bias": torch.zeros(2)})),
    "a transposed tensor": with_tensors(
        lambda t: t.update({"head.mean.weight": t["head.mean.weight"].T})
    ),
    "a missing tensor": with_tensors(lambda t: t.pop("label_scale")),
    "an extra tensor": with_tensors(lambda t: t.update(extra=torch.zeros(1))),
    "an odd name": with_tensors(lambda t: t.update({"\n\x1b[2Jx" * 99: torch.zeros(1)})),
    "a network of no size": with_tensors(lambda t: t.clear()),
    "NaN": value(torch.nan),
    "infinity": value(torch.inf),
}


# Attacks on config.json.


def text(change):
    def attack(folder, canary):
        path = folder / saved.CONFIG
        found = change(path.read_text())
        path.write_bytes(found if isinstance(found, bytes) else found.encode())

    return attack


def key(path, content):
    """Set a value, or take it out: ``key("model.dimension", 10**9)``."""

    def change(found):
        facts = json.loads(found)
        *parents, last = path.split(".")
        owner = facts
        for parent in parents:
            owner = owner[parent]
        if content is None:
            del owner[last]
        else:
            owner[last] = content
        return json.dumps(facts)

    return text(change)


def fcnn_of(pixels):
    def change(found):
        facts = json.loads(found)
        del facts["model"]
        return json.dumps({**facts, "architecture": "fcnn", "pixels": pixels, "labels": ["FE_H"]})

    return text(change)


CODE = "__import__('os').system('touch canary')"
BLOCK = {"heads": 1, "feedforward": 1}
CONFIG = {
    "architecture of code": key("architecture", CODE),
    "architecture of another": key("architecture", "transformer"),
    "no architecture": key("architecture", None),
    "a network of another kind": fcnn_of(16),
    "encoding of code": key("model.encoding", CODE),
    "encoding that is an attribute": key("model.encoding", "__class__"),
    "an unknown key": key("model.__init__", CODE),
    "dimension of 10^9": key("model.dimension", 10**9),
    "dimension of 10^400": key("model.dimension", 10**400),
    "dimension of text": key("model.dimension", "16"),
    "dimension of a float": key("model.dimension", 16.0),
    "dimension of zero": key("model.dimension", 0),
    "negative dimension": key("model.dimension", -16),
    "largest dimension": key("model.dimension", 65_536),
    "another dimension": key("model.dimension", 32),
    "feedforward of 10^9": key("model.encoder", [{"heads": 2, "feedforward": 10**9}]),
    "heads of true": key("model.encoder", [{"heads": True, "feedforward": 32}]),
    "no heads": key("model.encoder", [{"heads": 0, "feedforward": 32}]),
    "100,000 blocks": key("model.encoder", [BLOCK] * 100_000),
    "most and largest blocks": text(
        lambda found: json.dumps(
            {
                **json.loads(found),
                "model": {
                    "dimension": 65_536,
                    "encoder": [{"heads": 1, "feedforward": 65_536}] * 32,
                    "decoder": [{"heads": 1, "feedforward": 65_536}] * 32,
                    "head": [65_536] * 32,
                },
            }
        )
    ),
    "head of 10^9": key("model.head", [10**9]),
    "head of nothing": key("model.head", [0]),
    "head of text": key("model.head", ["16"]),
    "flux scale of zero": key("model.flux_scale", 0),
    "flux scale of NaN": key("model.flux_scale", float("nan")),
    "dropout of infinity": key("model.dropout", float("inf")),
    "model of text": key("model", CODE),
    "no model": key("model", None),
    "fcnn of 10^12 pixels": fcnn_of(10**12),
    "fcnn of 10^6 pixels": fcnn_of(10**6),
    "fcnn of pixels in text": fcnn_of("512"),
    "labels of numbers": key("labels", [1, 2, 3, 4, 5]),
    "labels of text": key("labels", "TEFF"),
    "labels of code": key("labels", [CODE] * 5),
    "labels named twice": key("labels", ["TEFF"] * 5),
    "no label": key("labels", []),
    "10^5 labels": key("labels", ["TEFF"] * 100_000),
    "no tokens": key("tokens", None),
    "tokens of text": key("tokens", "24"),
    "tokens of true": key("tokens", True),
    "tokens of a float": key("tokens", 24.5),
    "tokens of zero": key("tokens", 0),
    "tokens of 10^12": key("tokens", 10**12),
    "stage of text": key("stage", CODE),
    "no stage": key("stage", None),
    "windows backwards": key("stage.windows", [[17_000.0, 15_000.0]]),
    "windows of text": key("stage.windows", "15000-17000"),
    "condition of code": key("stage.stars.where", CODE),
    "number of stars in text": key("training_star_count", "96"),
    "stage name of a list": key("stage_name", [CODE]),
    "a YAML tag": text(lambda found: f"!!python/object/apply:os.system ['touch x']\n{found}"),
    "a YAML tag as value": text(lambda found: found.replace('"spectrafm"', "!!python/name:os", 1)),
    "a key twice": text(lambda found: found.replace("{", '{"tokens": 9,', 1)),
    "a nested key twice": text(lambda found: found.replace('"heads"', '"heads": 4, "heads"', 1)),
    "a list": text(lambda found: f"[{found}]"),
    "null": text(lambda found: "null"),
    "nothing": text(lambda found: ""),
    "code": text(lambda found: CODE),
    "a pickle": text(lambda found: pickle.dumps({"architecture": "spectrafm"})),
    "a number of a million digits": text(lambda found: '{"tokens": ' + "9" * 1_000_000 + "}"),
    "lists nested deeply": text(lambda found: "[" * 1_000_000),
    "dicts nested deeply": text(lambda found: '{"a":' * 1_000_000),
    "7 MB of lists": text(lambda found: "[" + "[]," * (7 << 20 >> 2) + "[]]"),
    "as many lists as are read": text(lambda found: "[" + "[]," * MOST + "[]]"),
    "as many windows as are read": key("stage.windows", [[]] * MOST),
    "as many wrong entries as are read": key("made_with", dict.fromkeys(range(2 * MOST))),
    "as many objects as are read and a key twice": text(
        lambda found: found.replace("{", '{"x": [' + "{}," * MOST + '{}], "tokens": 1,', 1)
    ),
    "7 MB of objects and a key twice": text(
        lambda found: found.replace(
            "{", '{"x": [' + "{}," * (7 << 20 >> 2) + '{}], "tokens": 1,', 1
        )
    ),
    "9 MB": text(lambda found: found + " " * (9 << 20)),
    "another encoding": text(lambda found: found.encode("utf-16")),
    "bytes that are no text": text(lambda found: b"\xff\xfe\x00" + found.encode()),
    "trailing text": text(lambda found: found + CODE),
}


# Attacks on the folder and on SHA256SUMS, which come without the right checksums being made anew.


def linked(name, target):
    def attack(folder, canary):
        outside = folder.parent / f"{folder.name}-outside"
        shutil.copy(folder / name, outside)
        (folder / name).unlink()
        (folder / name).symlink_to(target or outside)

    return attack


def sums(change):
    def attack(folder, canary):
        path = folder / saved.CHECKSUMS
        found = change(path.read_text())
        path.write_bytes(found if isinstance(found, bytes) else found.encode())

    return attack


def pipe(folder, canary):
    (folder / saved.WEIGHTS).unlink()
    os.mkfifo(folder / saved.WEIGHTS)


def folder_for_weights(folder, canary):
    (folder / saved.WEIGHTS).unlink()
    (folder / saved.WEIGHTS).mkdir()


def without(name):
    def attack(folder, canary):
        (folder / name).unlink()
        sign(folder)

    return attack


def beside(name):
    def attack(folder, canary):
        torch.save({"x": Payload(canary)}, folder / name)

    return attack


def line_for(path):
    return sums(lambda found: found + f"{files.sha256_of_file('/etc/passwd')}  {path}\n")


def odd_name(folder, canary):
    (folder / "a\n\x1b[2Jb").write_text("")
    sign(folder)


def swap(folder, canary):
    """Weights and configuration under each other's names."""
    (folder / saved.WEIGHTS).rename(folder / "x")
    (folder / saved.CONFIG).rename(folder / saved.WEIGHTS)
    (folder / "x").rename(folder / saved.CONFIG)


FOLDER = {
    "weights linked to outside": linked(saved.WEIGHTS, None),
    "weights linked to a secret": linked(saved.WEIGHTS, "/etc/passwd"),
    "weights linked to no end": linked(saved.WEIGHTS, "/dev/zero"),
    "configuration linked to outside": linked(saved.CONFIG, None),
    "checksums linked to outside": linked(saved.CHECKSUMS, None),
    "weights are a pipe": pipe,
    "weights are a folder": folder_for_weights,
    "a .pt beside": beside("model.pt"),
    "a .pkl beside": beside("pytorch_model.pkl"),
    "no weights": without(saved.WEIGHTS),
    "no configuration": without(saved.CONFIG),
    "no checksums": lambda folder, canary: (folder / saved.CHECKSUMS).unlink(),
    "a name with control characters": odd_name,
    "files swapped": swap,
    "checksums of nothing": sums(lambda found: ""),
    "checksums of ../../etc/passwd": line_for("../../../../../../../../etc/passwd"),
    "checksums of /etc/passwd": line_for("/etc/passwd"),
    "checksums of a path to the weights": sums(lambda found: found.replace("model", "./model")),
    "checksums with a terminal's commands": line_for("\x1b[2J\x07" * 999),
    "a line twice": sums(lambda found: found + found.splitlines(keepends=True)[0]),
    "lines in another order": sums(lambda found: "".join(found.splitlines(True)[::-1])),
    "capitals": sums(lambda found: found.upper()),
    "ends of lines of another system": sums(lambda found: found.replace("\n", "\r\n")),
    "no end of line": sums(lambda found: found[:-1]),
    "checksums that are no text": sums(lambda found: b"\xff\x00" + found.encode()),
    "checksums of 9 MB": sums(lambda found: found + "\n" * (9 << 20)),
}


def load_each(folders: list[Path]) -> list[dict]:
    """How loading each of some folders ends, each in a process of its own."""
    script = Path(__file__).with_name("making") / "load_models.py"
    root = str(Path(spectrafm.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(script), *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("attacks", "signed", "file"),
    [(WEIGHTS, True, saved.WEIGHTS), (CONFIG, True, ""), (FOLDER, False, "")],
    ids=["weights", "configuration", "folder"],
)
def test_malicious_models_are_refused_and_nothing_is_run(model, tmp_path, attacks, signed, file):
    folders, canaries = {}, {}
    for number, (name, attack) in enumerate(attacks.items()):
        folders[name] = shutil.copytree(model, tmp_path / f"model-{number}")
        canaries[name] = tmp_path / f"canary-{number}"
        attack(folders[name], canaries[name])
        if signed:
            sign(folders[name])
    wholesome = shutil.copytree(model, tmp_path / "wholesome")
    before, *endings, after = load_each([wholesome, *folders.values(), wholesome])
    assert before["ending"] == after["ending"] == "loaded"
    assert len(endings) == len(attacks)
    for (name, folder), ending in zip(folders.items(), endings, strict=True):
        assert ending["ending"] == "refused", (name, ending)
        message = ending["message"]
        assert str(folder) in message, (name, message)
        assert file in message, (name, message)
        assert message.isprintable(), name
        assert len(message) < 300 + len(str(folder)), name
        assert ending["megabytes"] < MEMORY, (name, ending)
        assert ending["megabytes"] < before["megabytes"] + BEYOND, (name, ending)
        assert ending["seconds"] < SECONDS, (name, ending)
        assert ending["crimes"] == [], name
        assert not canaries[name].exists(), name


def test_as_many_attacks_as_promised():
    assert len(WEIGHTS) >= 35
    assert len(CONFIG) >= 60
    assert len(FOLDER) >= 25


def test_the_canary_would_sing(tmp_path):
    """The payload does run where someone unpickles it."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_a_listed_pickle_beside_the_weights_is_never_opened(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    torch.save({"x": Payload(tmp_path / "canary")}, folder / "model.pt")
    sign(folder)
    (ending,) = load_each([folder])
    assert (ending["ending"], ending["crimes"]) == ("loaded", [])
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("architecture", ["spectrafm", "fcnn"])
def test_a_saved_network_comes_back_as_it_was(tmp_path, architecture):
    """What refuses so much must not refuse what we write; nor may looking move random numbers."""
    torch.manual_seed(1)
    networks = {
        "spectrafm": SpectraFM(MODEL, PAPER_LABELS),
        "fcnn": FCNN(torch.arange(64.0), PAPER_LABELS[-1:]),
    }
    folder = write_model(tmp_path / "model", networks[architecture])
    network, facts = saved.from_pretrained(folder)
    assert facts["tokens"] == 24
    kept = networks[architecture].state_dict()
    assert all(torch.equal(kept[name], found) for name, found in network.state_dict().items())
    assert not network.training


def damaged_at_random(folder: Path, rng, damage) -> tuple[Path, bytes]:
    """Damage one of a folder's files, any as likely as another: which, and what it was."""
    path = rng.choice(sorted(folder.iterdir()))
    content = path.read_bytes()
    path.write_bytes(damage(content, rng))
    return path, content


def flipped(content, rng):
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncated(content, rng):
    return content[: rng.integers(len(content))]


@pytest.mark.parametrize(
    ("damage", "times"), [(flipped, FLIPS), (truncated, TRUNCATIONS)], ids=["flips", "truncations"]
)
def test_no_damage_to_any_file_is_silent(model, tmp_path, damage, times):
    folder = shutil.copytree(model, tmp_path / "model")
    rng = np.random.default_rng(3)
    injected = Counter()
    for _ in range(times):
        path, content = damaged_at_random(folder, rng, damage)
        injected[path.name] += 1
        with pytest.raises(SpectraFMError, match="model"):
            saved.from_pretrained(folder)
        path.write_bytes(content)
    saved.from_pretrained(folder)
    assert injected.total() == times
    names = {saved.WEIGHTS, saved.CONFIG, saved.CHECKSUMS, "README.md", "metrics.csv"}
    assert set(injected) == names
    assert min(injected.values()) > times / 10


def test_every_bit_of_the_checksums_counts(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    path = folder / saved.CHECKSUMS
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(SpectraFMError, match="model"):
            saved.check_checksums(folder)
    assert bit > 2000


def refusal_of(folder: Path) -> str | None:
    """Why a model is refused; None where it is loaded."""
    try:
        saved.from_pretrained(folder)
    except SpectraFMError as error:
        return str(error)
    return None


def test_signed_damage_never_ends_in_another_error(model, tmp_path):
    """With checksums made anew a flip may give another sound model, but never another error."""
    folder = shutil.copytree(model, tmp_path / "model")
    rng = np.random.default_rng(4)
    endings = Counter()
    for number in range(SIGNED_FLIPS):
        path = folder / (saved.WEIGHTS, saved.CONFIG)[number % 2]
        content = path.read_bytes()
        # Weights are numbers, any of which may be right: it is their header that is damaged.
        end = (
            8 + struct.unpack("<Q", content[:8])[0] if path.name == saved.WEIGHTS else len(content)
        )
        path.write_bytes(flipped(content[:end], rng) + content[end:])
        sign(folder)
        message = refusal_of(folder)
        assert message is None or (message.startswith(f"{folder}/") and message.isprintable())
        endings["sound" if message is None else "refused"] += 1
        path.write_bytes(content)
    assert endings.total() == SIGNED_FLIPS
    assert endings["refused"] > SIGNED_FLIPS / 2


FORBIDDEN_NAMES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    ("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"),
    ("os", "system"), ("os", "popen"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
}  # fmt: skip
FORBIDDEN_KEYWORDS = {("allow_pickle", True), ("weights_only", False), ("shell", True)}


def crimes_in(source: str) -> list[str]:
    """Names in a module with which it could execute the content of a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.split(".")[0] in FORBIDDEN_NAMES]
            case ast.ImportFrom(module=str(module), names=names):
                found += [module] * (module.split(".")[0] in FORBIDDEN_NAMES)
                found += [n.name for n in names if (module, n.name) in FORBIDDEN_METHODS]
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                found += [f"{owner}.{name}"] * ((owner, name) in FORBIDDEN_METHODS)
            case ast.keyword(arg=str(name), value=ast.Constant(value=given)):
                found += [name] * ((name, given) in FORBIDDEN_KEYWORDS)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "torch.load(path)", "yaml.load(text)",
        "from torch import load", "numpy.load(path, allow_pickle=True)", "eval(text)",
        "torch.load(path, weights_only=False)", "exec(text)", "subprocess.run(x, shell=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_searches(line):
    assert crimes_in(line)


def test_nothing_in_the_package_runs_what_a_file_says():
    modules = sorted(Path(spectrafm.__file__).parent.rglob("*.py"))
    assert len(modules) > 40
    found = {str(path): crimes_in(path.read_text()) for path in modules}
    assert {path: crimes for path, crimes in found.items() if crimes} == {}
