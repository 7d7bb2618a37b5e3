"""The configuration: what is refused, how, and that flags say the same as the file."""

import argparse
import re
import time
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from snakemake.utils import update_config

from spectrafm import cli, config, options
from spectrafm.archive.options import Archive
from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.files import write_text
from spectrafm.labels import PAPER_LABELS, Labels
from spectrafm.networks.options import Model
from spectrafm.strict_yaml import check_file
from spectrafm.surveys.apogee import paths, simulated
from spectrafm.surveys.apogee.options import Release, Selection
from spectrafm.training.options import Stage

REPOSITORY = Path(__file__).parents[1]

ELEMENTS = ("C", "N", "O", "MG", "AL", "SI", "S", "K", "CA", "MN", "NI")


@pytest.fixture
def paper():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rnu": "x"}, r"^config: rnu: unknown key; allowed here: labels, run, base, survey, mock"),
        ({"survey": {"shrads": 3}}, r"survey\.shrads: unknown key; allowed here: .*source, keep"),
        ({"survey": {"shards": "many"}}, r"survey\.shards: .*integer.* \(found 'many'\)"),
        ({"survey": {"shards": 0}}, r"survey\.shards: .*greater than or equal to 1 \(found 0\)"),
        ({"survey": {"source": "ftp://x"}}, r"survey\.source: 'ftp://x' is not https"),
        ({"selection": {"starflag": ["BAD_PIXLES"]}}, r"'BAD_PIXLES' is no STARFLAG flag; known: "),
        ({"selection": {"aspcapflag": 23}}, r"selection\.aspcapflag: .*list \(found 23\)"),
        (
            {"selection": {"split": {"train": 0.9}}},
            r"selection\.split: train \+ validation \+ test",
        ),
        ({"selection": {"preset": "best"}}, r"selection\.preset: .*'strict' \(found 'best'\)"),
        ({"selection": {"preset": ["strict"]}}, r"selection\.preset: .*\(found \['strict'\]\)"),
        ({"selection": ["strict"]}, r"selection: .*\(found \['strict'\]\)"),
        ({"survey": {"catalogue": "allVisit"}}, r"survey\.catalogue: .*'allStarLite' \(found"),
        (
            {"survey": {"catalogue": "allStarLite"}},
            r"survey: allstar_sha1 is that of allStar; .*null",
        ),
        ({"mock": {"rws": 3}}, r"mock\.rws: unknown key; allowed here: rows, seed, gap"),
        ({"model": {"dimension": 100}}, r"model: dimension 100 is no multiple of 16 heads"),
        ({"model": {"encoding": "sines"}}, r"model\.encoding: .*'paper' or 'log_wavelength'"),
        ({"stages": {"pretrain": {"epoch": 3}}}, r"stages\.pretrain\.epoch: unknown key; allowed"),
        ({"stages": {"pretrain": {"sampling": {"token": 3}}}}, r"sampling\.token: unknown key"),
        ({"stages": {"pretrain": {"windows": [[2, 1]]}}}, r"windows\.0: a window is \[shortest"),
        (
            {"stages": {"pretrain": {"spectra": "real"}}},
            r"'observed' or 'synthetic' \(found 'real'",
        ),
        (
            {"stages": {"pretrain": {"labels": ["FEH"]}}},
            r"^config: stages\.pretrain\.labels: no label 'FEH'; known: TEFF, LOGG",
        ),
        (
            {"evaluations": {"iron_window": {"labels": ["FEH"]}}},
            r"^config: evaluations\.iron_window\.labels: no label 'FEH'",
        ),
        (
            {"stages": {"finetune_iron": {"stars": {"where": "SNR > 100"}}}},
            r"^config: stages\.finetune_iron\.stars\.where: no label 'SNR'; known: TEFF",
        ),
        (
            {"stages": {"finetune_iron": {"stars": {"where": "FE_H"}}}},
            r"stars\.where: 'FE_H' is not as described: condition on labels",
        ),
        (
            {"labels": {"C_FE": {"unit": "log10(cm s-2)"}}},
            r"labels\.C_FE\.unit: .*no unit that astropy",
        ),
        (
            {"labels": {"C_FE": {"units": "dex"}}},
            r"labels\.C_FE\.units: unknown key; allowed here: unit",
        ),
        (
            {"stages": {"pretrain": {"windows": [[1.61, 1.62]]}}},
            r"stages\.pretrain\.windows\.0: .* looks like micron: write \[16100, 16200\]",
        ),
        (
            {"evaluations": {"first_half": {"windows": [[1610.0, 1620.0]]}}},
            r"evaluations\.first_half\.windows\.0: .* looks like nm: write \[16100, 16200\]",
        ),
        (
            {"stages": {"finetune_iron": {"windows": [[6500.0, 6600.0]]}}},
            r"^config: stages\.finetune_iron\.windows: no pixel lies in the window \[6500, 6600\]",
        ),
        (
            {"attention": {"windows": [[21000, 22000]]}},
            r"^config: attention\.windows: no pixel lies in",
        ),
        (
            {"stages": {"new": {"epochs": 3}}},
            r"^config: stages\.new\.spectra: required; .*`like: STAGE`",
        ),
        (
            {"stages": {"new": {"epochs": 3, "spectra": "observed"}}},
            r"^config: stages\.new\.windows: required",
        ),
        (
            {"stages": {"new": {"like": "x"}}},
            r"^config: stages\.new\.like: no stage 'x'; known: pre",
        ),
        (
            {"stages": {"a": {"like": "b"}, "b": {"like": "a"}}},
            r"^config: stages\.b\.like: a circle through 'a'",
        ),
        ({"stages": {"new": 3}}, r"stages\.new: .*\(found 3\)"),
        (
            {"mock": {"rows": 100}},
            r"^config: survey\.source: the mock survey is written to a folder, not to https",
        ),
        ({"survey": {"name": "x"}}, r"^config: survey\.name: no survey 'x'; known: apogee"),
        (
            {"stages": {"pretrain": {"freeze": ["tail"]}}},
            r"pretrain: freeze: spectrafm has no part 'tail'",
        ),
        (
            {"stages": {"fcnn": {"start_from": "pretrain"}}},
            r"fcnn\.start_from: a network of architecture fcnn cannot start from one of a",
        ),
        (
            {"stages": {"fcnn": {"sampling": {"scheme": "mixed"}}}},
            r"fcnn: sampling\.scheme: fcnn reads",
        ),
        ({"stages": {"finetune_iron": {"start_from": "x"}}}, r"no stage 'x'; known: pretrain"),
        ({"stages": {"pretrain": {"start_from": "finetune_iron"}}}, r"a circle through"),
        (
            {"evaluations": {"first_half": {"stages": ["x"]}}},
            r"evaluations\.first_half\.stages: no",
        ),
        ({"figures": {"figure3": "a--b"}}, r"figures\.figure3: no evaluation makes 'a--b'; made: "),
        ({"figures": {"figure2": ["a"]}}, r"figures\.figure2: no stage 'a'; known: pretrain"),
        (
            {"figures": {"figure6": ["a"]}},
            r"figures\.figure6: unknown key; allowed here: star, table1",
        ),
        ({"attention": {"stage": "x"}}, r"attention\.stage: no stage 'x'"),
        (
            {"resources": {"x": {"gpus": 1}}},
            r"resources: no stage or job 'x'; known: default, predict, map_attention, ",
        ),
        ({"resources": {"default": {"gpu": 1}}}, r"default\.gpu: unknown key; allowed here: gpus"),
        ({"resources": {"pretrain": {"gpus": -1}}}, r"pretrain\.gpus: .*equal to 0 \(found -1\)"),
        ({"resources": {"predict": {"memory": 16}}}, r"predict\.memory: .*string \(found 16\)"),
        (
            {"resources": {"predict": {"memory": "16 G"}}},
            r"'16 G' is not a memory size such as 500MB",
        ),
        (
            {"resources": {"default": {"runtime": "1 day"}}},
            r"'1 day' is not a duration such as 90m, 12h",
        ),
        (
            {"resources": {"pretrain": {"account": "x"}}},
            r"resources\.pretrain\.account: set resources\.default\.account too",
        ),
        ({"threads": 8}, r"^config: threads: unknown key"),
        ({"run": "x" * 5000}, r"run: a text of 5,000 characters|run: .*at most 64"),
        ({"run": "x" * 65}, r"run: .*at most 64 characters"),
        ({"run": "../../x"}, r"run: '\.\./\.\./x' is not as described"),
        ({"run": "a\nb"}, r"run: 'a\\nb' holds a control character"),
        ({"survey": {"source": "a\0b"}}, r"survey\.source: 'a\\x00b' holds a control character"),
        ({"survey": {"keep": "\udcff"}}, r"survey\.keep: '\\udcff' holds a control character"),
        ({"stages": {"pretrain": {"seed": 2**70}}}, r"pretrain\.seed: a whole number beyond 2\^63"),
        ({"stages": {"pretrain": {"seed": 2**63}}}, r"pretrain\.seed: a whole number beyond 2\^63"),
        ({"stages": {"pretrain": {"epochs": 10**400}}}, r"epochs: a whole number beyond 2\^63"),
        ({"stages": {"pretrain": {"epochs": 10**5000}}}, r"epochs: a whole number beyond 2\^63"),
        ({"stages": {"pretrain": {"epochs": 10**10}}}, r"epochs: .*less than or equal to 10{9} "),
        ({"stages": {"pretrain": {"schedule": {"minimum": 10**400}}}}, r"beyond 2\^63"),
        ({"stages": {"pretrain": {"windows": [[15152, 10**400]]}}}, r"windows: .*beyond 2\^63"),
        ({"fewshot": {"draws": 2**64}}, r"beyond 2\^63"),
        ({"selection": {"split": {"seed": -1}}}, r"split\.seed: .*greater than or equal to 0"),
        (
            {"stages": {"finetune_iron": {"stars": {"where": "FE_H > 1.2.3"}}}},
            r"stars\.where: 'FE_H > 1\.2\.3' is not as described: condition on labels",
        ),
        (
            {"stages": {"pretrain": {"flux_range": [1.2, 0.05]}}},
            r"pretrain\.flux_range: a flux range is \[lowest, highest\]",
        ),
        (
            {"evaluations": {"first_half": {"flux_range": [1.2, 0.05]}}},
            r"first_half\.flux_range: a flux range is \[lowest, highest\]",
        ),
        ({"figures": {"table1_logg": [3.5, 1.0]}}, r"table1_logg: a range is \[lowest, highest\]"),
        ({"survey": {"most_missing": 1.5}}, r"survey\.most_missing: .*less than or equal to 1"),
        ({"survey": {"unverified": "maybe"}}, r"survey\.unverified: .*'allow' or 'refuse'"),
        ({"survey": {"runs": 0}}, r"survey\.runs: .*greater than or equal to 1"),
        (
            {"survey": {"release": "dr13", "aspcap": "l30e.2"}},
            r"survey: release: the spectra of dr13 lie in other folders .*, dr16 with aspcap r12",
        ),
        ({"survey": {"release": "dr19"}}, r"survey: release: .*are not supported; supported: dr17"),
        ({"survey": {"aspcap": "../l33"}}, r"survey\.aspcap: '\.\./l33' is not as described"),
        ({"survey": {"aspcap": "a/b/c"}}, r"survey\.aspcap: 'a/b/c' is not as described"),
        ({"survey": {"aspcap": "l33."}}, r"survey\.aspcap: 'l33\.' is not as described"),
        (
            {"resources": {"default": {"memory": "9" * 400 + "GB"}}},
            r"default\.memory: '9+GB' is not a memory size",
        ),
        ({"resources": {"default": {"partition": "a;b"}}}, r"default\.partition: 'a;b' is not as"),
        ({"resources": {"default": {"account": "$(x)"}}}, r"default\.account: '\$\(x\)' is not as"),
        (
            {"mock": {"rows": 100}, "survey": {"source": "{sas}"}},
            r"survey\.source: '\{sas\}' is no name of a folder for the mock survey",
        ),
        (
            {"mock": {"rows": 100}, "survey": {"source": "file:///x"}},
            r"survey\.source: the mock survey is written to a folder, not to file:///x",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(paper, changed, message):
    update_config(paper, changed)
    with pytest.raises(SpectraFMError) as caught:
        config.read_config(paper)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dr16", "mirror of dr13"])
def test_other_releases_of_the_same_layout_can_be_named(paper, name):
    given = {
        "dr16": {"release": "dr16", "aspcap": "r12/l33"},
        "mirror of dr13": {"release": "dr13", "aspcap": "l30e.2", "source": "file:///data/sas"},
    }[name]
    update_config(paper, {"survey": given})
    survey = config.read_config(paper).survey
    path = paths.aspcapstar_path(survey.release, survey.aspcap, "apo25m", "000+02", "2M1")
    listed = paths.sha1sum_path(survey.release, survey.aspcap, "apo25m", "000+02")
    catalogue = paths.allstar_path(survey.release, survey.aspcap)
    if name == "dr16":
        # The templates of SDSS's tree for DR16, with its reductions r12 and l33.
        folder = "dr16/apogee/spectro/aspcap/r12/l33"
        assert path == f"{folder}/apo25m/000+02/aspcapStar-r12-2M1.fits"
        assert listed == f"{folder}/apo25m/000+02/r12_l33_apo25m_000+02.sha1sum"
        assert catalogue == f"{folder}/allStar-r12-l33.fits"
    else:
        assert path.endswith("aspcap/dr13/l30e.2/apo25m/000+02/aspcapStar-dr13-2M1.fits")


@pytest.mark.parametrize(
    ("holds", "allowed"),
    [
        (None, True),
        ({}, True),
        ({"MOCK_SURVEY": simulated.TEXT}, True),
        ({"MOCK_SURVEY": f"{simulated.TEXT}\n", "dr17/x.fits": "x"}, True),
        ({"dr17/x.fits": "x"}, False),
        ({"MOCK_SURVEY": "Not found", "dr17/x.fits": "x"}, False),
        ({"MOCK_SURVEY": "", "thesis.tex": "x"}, False),
    ],
)
def test_the_mock_survey_takes_no_ones_mirror(paper, tmp_path, monkeypatch, holds, allowed):
    """Refused when the configuration is read, hence also in a dry run."""
    monkeypatch.chdir(tmp_path)
    for name, text in (holds or {}).items():
        write_text(tmp_path / "my sas" / name, text)
    if holds == {}:
        (tmp_path / "my sas").mkdir()
    update_config(paper, {"mock": {"rows": 100}, "survey": {"source": "my sas"}})
    if allowed:
        assert config.read_config(paper).mock.rows == 100
    else:
        with pytest.raises(SpectraFMError, match=r"my sas is no mock survey, and .* mock: null"):
            config.read_config(paper)


def test_a_file_is_no_folder_of_a_mock_survey(paper, tmp_path):
    (tmp_path / "file").write_text("x")
    for source in (tmp_path / "file", tmp_path / "file/below"):
        update_config(paper, {"mock": {"rows": 100}, "survey": {"source": str(source)}})
        if source.name == "file":
            with pytest.raises(SpectraFMError, match="is no mock survey"):
                config.read_config(paper)


# YAML that says something twice, or too much.


BOMB = "x: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MAPPING_BOMB = "x: &a0 {b: 1}\n" + "".join(
    f"x{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(9))}}}\n" for n in range(1, 12)
)
ODD_YAML = {
    "a key twice": ("run: a\nsurvey: {shards: 2}\nrun: b\n", "line 3: key 'run' is given twice"),
    "a stage twice": (
        "stages:\n  a: {epochs: 1}\n  b: {epochs: 1}\n  a: {epochs: 2}\n",
        "line 4: key 'a' is given twice",
    ),
    "an option twice": ("model: {dimension: 8, head: [1], dimension: 16}", "'dimension' is given"),
    "lists of lists of lists": (BOMB, "more than 100,000 values"),
    "mappings of mappings": (MAPPING_BOMB, "more than 100,000 values"),
    "itself": ("stages: &a {x: *a}", "a value holds itself"),
    "depth": ("[" * 5000, "nested too deeply"),
    "digits": ("run: " + "9" * 5000, "Exceeds the limit"),
    "a tag": ("run: !!python/object/apply:os.system [id]", "not YAML"),
    "no end": ("run: [", "not YAML"),
    "two documents": ("run: a\n---\nrun: b\n", "not YAML"),
}


@pytest.mark.parametrize("name", ODD_YAML)
def test_odd_yaml_is_refused_in_one_line_within_seconds(tmp_path, name):
    text, message = ODD_YAML[name]
    (tmp_path / "x.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(SpectraFMError, match=re.escape(message)) as raised:
        check_file(tmp_path / "x.yaml")
    assert time.process_time() - start < 5
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "x.yaml") in str(raised.value)


def test_merge_keys_and_anchors_are_no_repetition(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, *a]\n")
    check_file(tmp_path / "x.yaml")
    for path in (REPOSITORY / "config.yaml", *REPOSITORY.glob("configs/*.yaml")):
        check_file(path)


@pytest.mark.parametrize("text", [BOMB, MAPPING_BOMB])
def test_values_that_multiply_are_refused_before_they_are_read(paper, text):
    """As they come from Snakemake, which has read the file by itself."""
    bomb = yaml.safe_load(text)["x11"]
    start = time.process_time()
    for changed in ({"stages": bomb}, {"x": bomb}, {"labels": {"FE_H": {"unit": bomb}}}):
        with pytest.raises(SpectraFMError, match=r"^config: more than 100,000 values"):
            config.read_config(paper | changed)
    assert time.process_time() - start < 1


def test_a_key_given_twice_on_a_command_line_is_refused():
    parser = argparse.ArgumentParser()
    options.add_options(parser, Labels)
    for text in ('{"FE_H": {"unit": "dex", "unit": "K"}}', "{FE_H: {}, FE_H: {unit: K}}"):
        with pytest.raises(SpectraFMError, match="is given twice"):
            options.section_of(Labels, parser.parse_args([f"--labels={text}"]))


@pytest.mark.parametrize("word", ["null", "1e3", "[a, b]", "{a: b}", "# a", "'a'", '"', "yes", "~"])
def test_a_text_that_looks_like_something_else_stays_a_text(word):
    section = Archive(source=word, keep=word)
    parser = argparse.ArgumentParser()
    options.add_options(parser, Archive)
    assert options.section_of(Archive, parser.parse_args(options.options(section))) == section


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "x" * 65, "a b", ".", "-x", "a\n"])
def test_a_name_on_a_command_line_leads_nowhere(name, tmp_path, capsys):
    given = ["--spectra=observed", "--windows=[[16105, 16220]]", "--epochs=1"]
    output = f"--output={tmp_path / 'out'}"
    assert cli.main(["train", "store.zarr", f"--name={name}", output, *given]) == 3
    assert "--name: " in capsys.readouterr().err
    output = f"--output={tmp_path / 'out.parquet'}"
    assert cli.main(["predict", "model", "store.zarr", f"--name={name}", output]) == 3
    assert "--name: " in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))


def test_every_whole_number_has_an_upper_bound():
    """Or is refused beyond 2^63 as any other: counted from the sections."""
    numbers = 0
    for section in set(every_section(config.Config)):
        for key, field in section.model_fields.items():
            plain = options._section_in(field.annotation) is None
            if plain and "INTEGER" in options.syntax(field.annotation):
                numbers += 1
                with pytest.raises(ValidationError) as raised:
                    section.model_validate({key: 10**40})
                (told,) = [e for e in raised.value.errors() if e["loc"] == (key,)]
                assert "beyond 2^63" in told["msg"]
    assert numbers > 20


def every_section(section):
    yield section
    for field in section.model_fields.values():
        inner = options._section_in(field.annotation)
        if inner is not None:
            yield from every_section(inner)


def test_paper_config_says_what_the_paper_says(paper):
    run = config.read_config(paper)
    assert run.mock is None
    assert run.selection.snr_above == 200
    stage = run.stages["pretrain"]
    assert (stage.epochs, stage.spectra, stage.sampling.tokens) == (325, "synthetic", 512)
    assert stage.schedule.learning_rate == 1e-4
    assert stage.schedule.minimum == 1e-10
    assert stage.schedule.restart_epochs == 50
    assert run.stages["finetune_iron"].stars.count == 100
    assert run.stages["finetune_iron"].freeze == ["encoder.1", "decoder", "head"]
    assert run.stages["finetune_iron_unfrozen"].freeze == []


def test_a_preset_alone_changes_the_cuts_of_the_paper_config(paper):
    update_config(paper, {"selection": {"preset": "strict"}})
    strict = config.read_config(paper).selection
    assert "CHI2_BAD" in strict.aspcapflag
    update_config(paper, {"selection": {"aspcapflag": ["TEFF_BAD"]}})
    changed = config.read_config(paper).selection
    assert changed.aspcapflag == ["TEFF_BAD"]
    assert changed.split == strict.split


def test_every_key_of_the_paper_config_is_explained(paper):
    """Each key has a comment on its own line, above it, or above the block it opens."""
    sections = config.Config.model_fields
    text = (REPOSITORY / "config.yaml").read_text()
    for key in sections:
        assert re.search(rf"^(# )?{key}:", text, re.MULTILINE), key
    for section in ("survey", "selection", "figures", "attention"):
        for key in config.Config.model_fields[section].default.__class__.model_fields:
            assert re.search(rf"^  (# )?{key}:", text, re.MULTILINE), f"{section}.{key}"


def test_the_demo_changes_values_but_adds_no_stage(paper):
    demo = yaml.safe_load((REPOSITORY / "configs/demo.yaml").read_text())
    names = set(paper["stages"]), set(paper["evaluations"])
    update_config(paper, demo)
    run = config.read_config(paper)
    assert (set(run.families), set(run.evaluations)) == names
    assert run.mock is not None


def test_the_paper_size_is_the_papers_but_for_the_stars(paper):
    changes = yaml.safe_load((REPOSITORY / "configs/paper_size.yaml").read_text())
    assert not {"model", "stages", "selection"} & changes.keys()
    update_config(paper, changes)
    mock = config.read_config(paper).mock
    # Of 1,000 rows 675 are left by the cuts, and 670 have a spectrum.
    assert 0.67 * mock.rows > 90_000


def test_the_best_recipe_is_an_overlay_that_reads_whole_windows(paper):
    best = yaml.safe_load((REPOSITORY / "configs/dr17_best.yaml").read_text())
    update_config(paper, best)
    run = config.read_config(paper)
    assert run.model.token.width > 0
    ours = [stage for stage in run.stages.values() if stage.architecture == "spectrafm"]
    assert len(ours) >= 6
    assert {stage.sampling.scheme for stage in ours} == {"all"}


def test_the_authors_choices_are_an_overlay(paper):
    published = yaml.safe_load((REPOSITORY / "configs/as_published.yaml").read_text())
    update_config(paper, published)
    run = config.read_config(paper)
    theirs = ("pretrain", "finetune_observed", "finetune_iron", "finetune_iron_direct", "fcnn")
    chosen = [run.stages[name].selection for name in theirs]
    assert chosen == ["last", "last", "paper", "paper", "validation"]
    assert run.stages["finetune_observed"].epochs == 10
    assert run.evaluations["first_half"].combine == "mean"


def test_flags_say_the_same_as_the_file(paper):
    run = config.read_config(paper)
    for stage in run.stages.values():
        parser = argparse.ArgumentParser()
        options.add_options(parser, Stage)
        options.add_options(parser, Model)
        line = options.options(stage, only=[Stage]) + options.options(run.model)
        given = parser.parse_args(line)
        own = stage.model_dump(exclude={"draws", "seeds"})
        assert options.section_of(Stage, given).model_dump() == own
        assert options.section_of(Model, given) == run.model
    parser = argparse.ArgumentParser()
    options.add_options(parser, Labels)
    given = parser.parse_args(options.options(run, only=[Labels]))
    assert options.section_of(Labels, given).table() == run.table()


def test_a_person_may_type_yaml():
    parser = argparse.ArgumentParser()
    options.add_options(parser, Selection)
    given = parser.parse_args(["--starflag=[BAD_PIXELS, RV_FAIL]", "--vscatter_below=null"])
    selection = options.section_of(Selection, given)
    assert selection.starflag == ["BAD_PIXELS", "RV_FAIL"]
    assert selection.vscatter_below is None


def test_a_wrong_flag_is_named():
    parser = argparse.ArgumentParser()
    options.add_options(parser, Stage)
    given = ["--spectra=observed", "--windows=[[16105, 16220]]", "--epochs=1"]
    with pytest.raises(SpectraFMError, match=r"options: schedule\.learning_rate: .*\(found 'fast'"):
        options.section_of(Stage, parser.parse_args([*given, "--schedule.learning_rate=fast"]))


def test_options_may_be_chosen_by_key_or_by_section(paper):
    survey = config.read_config(paper).survey
    keys = [word.partition("=")[0] for word in options.options(survey, only=[Release, "keep"])]
    assert sorted(keys) == ["--aspcap", "--keep", "--release"]
    assert "--shards=16" not in options.options(survey, without=["shards"])


def test_resources_are_the_jobs_own_then_the_default_ones_then_built_in(paper):
    update_config(
        paper,
        {
            "resources": {
                "default": {"gpus": 4, "gpu_model": "h100", "runtime": "6h"},
                "pretrain": {"runtime": "1.5d", "gpu_model": None},
                "fcnn": {"gpus": 0, "memory": "0.5GB"},
                "fetch_spectra": {"memory": "6GB"},
            }
        },
    )
    run = config.read_config(paper)
    asked = {job: run.resources_of(job) for job in (*run.stages, "predict", "map_attention")}
    gpus = {job: (resources.gpus, resources.gpu_model) for job, resources in asked.items()}
    assert gpus["pretrain"] == (4, None)
    assert gpus["finetune_observed"] == (4, "h100")
    assert gpus["fcnn"] == (0, None), "no GPU, so no kind of it"
    assert gpus["predict"] == gpus["map_attention"] == (1, "h100"), "predicting is one process"
    assert (asked["pretrain"].minutes, asked["finetune_observed"].minutes) == (36 * 60, 6 * 60)
    assert (asked["pretrain"].memory_mb, asked["fcnn"].memory_mb) == (32_000, 500)
    own = {"gpus": 0, "threads": 1, "memory": "4GB", "runtime": "90m", "account": None}
    fetching = run.resources_of("fetch_spectra", **own)
    assert (fetching.gpus, fetching.gpu_model, fetching.threads) == (0, None, 1)
    assert (fetching.memory_mb, fetching.minutes) == (6000, 90)
    assert config.Config().resources_of("predict") == config.Resources()


def test_a_stage_has_what_it_does_not_say_from_the_stage_it_is_like(paper):
    few = {"like": "finetune_iron", "stars": {"count": 30}, "windows": [[16105.8, 16150.0]]}
    update_config(paper, {"stages": {"few": few, "fewer": {"like": "few", "stars": {"seed": 5}}}})
    stages = config.read_config(paper).stages
    iron = stages["finetune_iron"]
    stars = {"where": "FE_H > -1", "count": 30, "seed": 77, "labelled": {}, "aside": 0.0}
    assert stages["few"].stars.model_dump() == stars, "mappings are merged"
    assert stages["few"].windows == [(16105.8, 16150.0)], "lists are replaced"
    assert stages["fewer"].stars.model_dump() == {**stars, "seed": 5}, "likes are chained"
    changed = {"stars": iron.stars, "windows": iron.windows}
    assert stages["few"].model_copy(update=changed) == iron
    assert stages["finetune_iron_direct"].freeze == iron.freeze


def test_an_overlay_changes_the_stages_that_are_like_the_one_it_changes(paper):
    update_config(paper, {"stages": {"finetune_iron": {"batch": 7}}})
    stages = config.read_config(paper).stages
    assert {stages[name].batch for name in stages if name.startswith("finetune_iron")} == {7}


def test_null_leaves_out_a_label_a_stage_an_evaluation(paper):
    changes = {
        "labels": {"TEFF": None, "C_FE": {"symbol": "[C/Fe]"}},
        "stages": {"finetune_iron_unfrozen": None},
        "fewshot": {"stages": ["finetune_iron"]},
        "evaluations": {
            "iron_window": {"stages": ["fcnn", "finetune_iron"]},
            "iron_window_synthetic": None,
        },
        "figures": {"figure4": None, "calibration": None},
    }
    update_config(paper, changes)
    run = config.read_config(paper)
    assert list(run.labels) == ["LOGG", "O_FE", "MG_FE", "FE_H", "C_FE"]
    assert "finetune_iron_unfrozen" not in run.stages
    assert "iron_window_synthetic" not in run.evaluations
    assert run.drawn == ["figure1", "figure2", "figure3", "figure5"]


def test_the_papers_labels_are_those_of_its_run(paper):
    assert config.read_config(paper).table() == PAPER_LABELS


def test_twelve_abundances_are_a_matter_of_the_configuration(paper):
    names = ["FE_H", *(f"{element}_FE" for element in ELEMENTS)]
    labels = {name: {} for name in names} | {"TEFF": None, "LOGG": None}
    update_config(paper, {"labels": labels})
    run = config.read_config(paper)
    assert set(run.labels) == set(names)
    assert set(run.error_columns()) == {f"{name}_ERR" for name in names}


def test_every_figure_that_shows_a_choice_has_a_key():
    keys = config.Config.model_fields["figures"].annotation.model_fields
    for name, plot in FIGURES.items():
        assert (name in keys) == (
            plot.shows not in ("star", "attention", "learning_curve", "draws")
        )


def test_every_key_of_every_section_is_described():
    missing = {
        f"{section.__name__}.{key}"
        for section in every_section(config.Config)
        for key, field in section.model_fields.items()
        if not field.description and not options._section_in(field.annotation)
    }
    assert not missing
