"""The package's dependencies, the pins of `make`, and how the workflow is found and installed."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from snakemake.exceptions import WorkflowError

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

# Where a module is not called as the distribution that brings it.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}
# Extras that the library itself may import, inside a function.
LIBRARY_EXTRAS = ("specutils", "hub")


def names(requirements):
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def extra(name):
    return names(PROJECT["optional-dependencies"][name])


def pins(text):
    """Name and version of each pin in a requirements file."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


LOCK_TEXT = (REPOSITORY / "envs/lock.txt").read_text()
LOCK = pins(LOCK_TEXT)
TORCH = pins((REPOSITORY / "envs/torch.txt").read_text())


def imports(tree, late=False):
    """(module, whether it is imported only when a function runs) for all imports in a file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0], late
        else:
            checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(node, late or function or checking)


def test_every_import_of_the_library_is_declared():
    always = names(PROJECT["dependencies"])
    sometimes = always.union(*map(extra, LIBRARY_EXTRAS))
    imported = set()
    for file in sorted((REPOSITORY / "spectrafm").rglob("*.py")):
        for module, late in imports(ast.parse(file.read_text())):
            if module == "spectrafm" or module in sys.stdlib_module_names:
                continue
            distribution = canonicalize_name(DISTRIBUTIONS.get(module, module))
            assert distribution in (sometimes if late else always), f"{file}: {module}"
            imported.add(distribution)
    assert {"torch", "astropy", "pillow", "pyyaml"} <= imported


def test_what_pandas_imports_for_us_is_declared():
    """pandas imports these when a table is written as Markdown or LaTeX; it does not bring them."""
    text = "".join(file.read_text() for file in sorted((REPOSITORY / "spectrafm").rglob("*.py")))
    for method, distribution in (("to_markdown(", "tabulate"), ("to_latex(", "jinja2")):
        assert method in text
        assert distribution in names(PROJECT["dependencies"])


def test_dependencies_are_ranges():
    extras = PROJECT["optional-dependencies"].values()
    for requirement in chain(PROJECT["dependencies"], *extras):
        operators = {part.operator for part in Requirement(requirement).specifier}
        assert ">=" in operators, requirement
        assert not operators & {"==", "===", "~="}, requirement


def test_extras():
    assert extra("workflow") == {"snakemake", "snakemake-executor-plugin-slurm"}
    assert extra("specutils") == {"specutils"}
    assert extra("hub") == {"huggingface-hub"}
    assert {"sphinx", "pydata-sphinx-theme", "myst-nb"} <= extra("docs")
    assert {"pytest", "ruff", "snakefmt"} <= extra("dev")
    # Whoever installs the library alone gets no Snakemake, and no tools of developers.
    library = names(PROJECT["dependencies"])
    for name in PROJECT["optional-dependencies"]:
        assert not library & extra(name), name


def test_pins_are_within_the_ranges():
    extras = PROJECT["optional-dependencies"]
    locked = LOCK | TORCH
    for text in [*PROJECT["dependencies"], *extras["workflow"], *extras["dev"]]:
        requirement = Requirement(text)
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text}: {version}; renew by `make lock`"


def test_lock_has_hashes_and_neither_torch_nor_cuda():
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK_TEXT, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(LOCK), "one version of each package, for all Pythons"
    for block in blocks:
        assert "--hash=sha256:" in block, block
    unwanted = re.compile(r"torch$|triton|nvidia|cuda")
    assert not [name for name in LOCK if unwanted.match(name)]
    assert list(TORCH) == ["torch"]
    # The package is built with what is locked: `pip install --no-build-isolation`.
    assert "setuptools" in LOCK
    assert "envs/torch.txt" in LOCK_TEXT.splitlines()[1]


@pytest.fixture
def recorded(tmp_path):
    """Run envs/install.sh with commands that only record how they were called."""
    commands = tmp_path / "bin"
    commands.mkdir()
    calls = tmp_path / "calls"

    def command(name, status=0):
        path = commands / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{calls}"\nexit {status}\n')
        path.chmod(0o755)
        return path

    def run(*arguments, present=(), torch=""):
        for name in present:
            command(name)
        found = subprocess.run(
            [REPOSITORY / "envs/install.sh", command("python"), *arguments],
            env={"PATH": f"{commands}:{tmp_path / 'system'}", "TORCH": torch},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return calls.read_text().splitlines()

    # Only what the script itself needs of the system: no uv, nvidia-smi or sbatch of this machine.
    system = tmp_path / "system"
    system.mkdir()
    for name in ("dirname", "grep"):
        (system / name).symlink_to(shutil.which(name))
    (system / "uname").write_text("#!/bin/sh\necho Linux\n")
    (system / "uname").chmod(0o755)
    return run


def test_without_a_gpu_torch_comes_without_cuda(recorded):
    lock, torch, package = recorded()
    assert "pip install" in lock
    assert "--require-hashes" in lock
    assert torch.endswith(f"--no-deps torch=={TORCH['torch']}+cpu")
    assert package.endswith("--no-deps --no-build-isolation --editable .")


@pytest.mark.parametrize("sign", ["nvidia-smi", "sbatch"])
def test_with_a_gpu_or_on_a_cluster_torch_comes_as_it_is(recorded, sign):
    assert any(call.endswith(f" torch=={TORCH['torch']}") for call in recorded(present=[sign]))


def test_torch_as_the_user_wants_it(recorded):
    assert any(call.endswith(" torch==2.14.1") for call in recorded(torch="torch==2.14.1"))


def test_uv_installs_the_lock_and_options_go_to_pip(recorded):
    calls = recorded(present=["uv"])
    assert calls[0].startswith("uv pip install")
    assert "--require-hashes" in calls[0]
    calls = recorded("--index-url", "https://mirror.example/simple")[len(calls) :]
    assert len(calls) == 3
    assert all(call.startswith("python -m pip install") for call in calls)
    assert all("--index-url https://mirror.example/simple" in call for call in calls)


def test_catalogue_finds_the_workflow():
    snakefile = (REPOSITORY / "workflow/Snakefile").read_text()
    assert 'include: "../Snakefile"' in snakefile.splitlines()
    assert (REPOSITORY / "config/README.md").exists()
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}


def test_the_catalogue_s_snakefile_makes_the_same(tmp_path):
    """With no target too: an included file's default target does not count by itself."""
    found = {}
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        options = ["--dry-run", "--forceall", "--quiet", "rules"]
        run = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", snakefile, *options],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        found[snakefile] = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    assert ("report", "1") in found["Snakefile"]
    assert found["Snakefile"] == found["workflow/Snakefile"]


def guard():
    """What common.smk asks before it uses the package."""
    text = (REPOSITORY / "workflow/rules/common.smk").read_text()
    return text[text.index("NOT_INSTALLED =") : text.index("from spectrafm.")]


def test_a_missing_package_is_one_clear_line(monkeypatch, tmp_path):
    # Without the spectrafm.config of a test that ran earlier: Python would take that.
    monkeypatch.delitem(sys.modules, "spectrafm.config", raising=False)
    monkeypatch.setitem(sys.modules, "spectrafm", None)
    names = {"WorkflowError": WorkflowError, "OWN_ENVIRONMENT": False, "shutil": shutil}
    with pytest.raises(WorkflowError) as error:
        exec(guard(), {**names, "BIN": str(tmp_path)})
    assert "pip install -e .[workflow]" in str(error.value)
    assert "spectrafm" in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_a_clone_that_was_not_installed_is_one_clear_line(tmp_path):
    names = {"WorkflowError": WorkflowError, "shutil": shutil, "BIN": str(tmp_path)}
    with pytest.raises(WorkflowError, match=r"no command spectrafm.*pip install -e"):
        exec(guard(), {**names, "OWN_ENVIRONMENT": False})
    exec(guard(), {**names, "OWN_ENVIRONMENT": True})  # the jobs' own environment has it
