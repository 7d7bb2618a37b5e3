"""The configuration: what is refused, how, and that flags say the same as the file."""

import argparse
import re
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from spectrafm import config, options
from spectrafm.errors import SpectraFMError
from spectrafm.figures import FIGURES
from spectrafm.labels import PAPER_LABELS, Labels
from spectrafm.networks.options import Model
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
            r"stars\.where: 'FE_H' is not as described: condition on a label",
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
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(paper, changed, message):
    update_config(paper, changed)
    with pytest.raises(SpectraFMError) as caught:
        config.read_config(paper)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


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
    stages = {name for name in run.stages if config.DRAW not in name}
    assert (stages, set(run.evaluations)) == names
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
        line = options.options(stage) + options.options(run.model)
        given = parser.parse_args(line)
        assert options.section_of(Stage, given) == stage
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
    stars = {"where": "FE_H > -1", "count": 30, "seed": 77}
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
        "draws": {"stages": ["finetune_iron"]},
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
        assert (name in keys) == (plot.shows not in ("star", "attention"))


def test_every_key_of_every_section_is_described():
    def sections(section):
        yield section
        for field in section.model_fields.values():
            inner = options._section_in(field.annotation)
            if inner is not None:
                yield from sections(inner)

    missing = {
        f"{section.__name__}.{key}"
        for section in sections(config.Config)
        for key, field in section.model_fields.items()
        if not field.description and not options._section_in(field.annotation)
    }
    assert not missing
