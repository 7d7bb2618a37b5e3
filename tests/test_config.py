"""The configuration: what is refused, how, and that flags say the same as the file."""

import argparse
import re
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from spectrafm import config, options
from spectrafm.errors import SpectraFMError
from spectrafm.networks.options import Model
from spectrafm.surveys.apogee.options import Selection
from spectrafm.training.options import Stage

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def paper():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rnu": "x"}, r"^config: rnu: unknown key; allowed here: run, survey, mock"),
        ({"survey": {"shrads": 3}}, r"survey\.shrads: unknown key; allowed here: source, release"),
        ({"survey": {"shards": "many"}}, r"survey\.shards: .*integer.* \(found 'many'\)"),
        ({"survey": {"shards": 0}}, r"survey\.shards: .*greater than or equal to 1 \(found 0\)"),
        ({"survey": {"source": "ftp://x"}}, r"survey\.source: 'ftp://x' is none of https"),
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
        ({"stages": {"pretrain": {"labels": ["FEH"]}}}, r"labels\.0: .*'FE_H' \(found 'FEH'\)"),
        ({"stages": {"pretrain": {"freeze": ["tail"]}}}, r"freeze\.0: .*\(found 'tail'\)"),
        ({"stages": {"fcnn": {"start_from": "pretrain"}}}, r"fcnn: fcnn starts from scratch"),
        ({"stages": {"finetune_iron": {"start_from": "x"}}}, r"no stage 'x'; known: pretrain"),
        ({"stages": {"pretrain": {"start_from": "finetune_iron"}}}, r"a circle through"),
        (
            {"evaluations": {"first_half": {"stages": ["x"]}}},
            r"evaluations\.first_half\.stages: no",
        ),
        ({"figures": {"figure3": "a--b"}}, r"figures\.figure3: no evaluation makes 'a--b'; made: "),
        ({"attention": {"stage": "x"}}, r"attention\.stage: no stage 'x'"),
        (
            {"resources": {"x": {"gpus": 1}}},
            r"resources: no stage or job 'x'; known: default, mock_survey, pre",
        ),
        ({"resources": {"default": {"gpu": 1}}}, r"default\.gpu: unknown key; allowed here: gpus"),
        ({"resources": {"pretrain": {"gpus": -1}}}, r"pretrain\.gpus: .*equal to 0 \(found -1\)"),
        ({"resources": {"predict": {"memory": 16}}}, r"predict\.memory: .*string \(found 16\)"),
        ({"resources": {"predict": {"memory": "16 G"}}}, r"'16 G' is no amount such as 500MB"),
        ({"resources": {"default": {"runtime": "1 day"}}}, r"'1 day' is no time such as 90m, 12h"),
        (
            {"resources": {"pretrain": {"account": "x"}}},
            r"resources\.pretrain\.account: give resources\.default\.account too",
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
    missing = [key for key in sections if key not in paper]
    assert not missing
    text = (REPOSITORY / "config.yaml").read_text()
    for section in ("survey", "selection", "figures", "attention"):
        for key in config.Config.model_fields[section].default.__class__.model_fields:
            assert re.search(rf"^  (# )?{key}:", text, re.MULTILINE), f"{section}.{key}"


def test_the_demo_changes_values_but_adds_no_stage(paper):
    demo = yaml.safe_load((REPOSITORY / "demo/run.yaml").read_text())
    names = set(paper["stages"]), set(paper["evaluations"])
    update_config(paper, demo)
    run = config.read_config(paper)
    assert (set(run.stages), set(run.evaluations)) == names
    assert run.mock is not None


def test_the_paper_size_is_the_papers_but_for_the_stars(paper):
    changes = yaml.safe_load((REPOSITORY / "demo/paper_size.yaml").read_text())
    assert not {"model", "stages", "selection"} & changes.keys()
    update_config(paper, changes)
    mock = config.read_config(paper).mock
    # Of 1,000 rows 675 are left by the cuts, and 670 have a spectrum.
    assert 0.67 * mock.rows > 90_000


def test_the_authors_choices_are_an_overlay(paper):
    published = yaml.safe_load((REPOSITORY / "docs/as-published.yaml").read_text())
    update_config(paper, published)
    run = config.read_config(paper)
    assert {stage.selection for stage in run.stages.values()} == {"last", "paper", "validation"}
    assert run.stages["finetune_observed"].epochs == 10
    assert run.evaluations["first_half"].combine == "mean"


def test_flags_say_the_same_as_the_file(paper):
    run = config.read_config(paper)
    for stage in run.stages.values():
        parser = argparse.ArgumentParser()
        options.add_options(parser, Stage)
        options.add_options(parser, Model, "model.")
        line = options.options(stage) + options.options(run.model, prefix="model.")
        given = parser.parse_args(line)
        assert options.section_of(Stage, given) == stage
        assert options.section_of(Model, given, "model.") == run.model


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
    with pytest.raises(SpectraFMError, match=r"options: schedule\.learning_rate: .*\(found 'fast'"):
        options.section_of(Stage, parser.parse_args(["--schedule.learning_rate=fast"]))


def test_resources_are_the_jobs_own_then_the_default_ones_then_built_in(paper):
    update_config(
        paper,
        {
            "resources": {
                "default": {"gpus": 4, "gpu_model": "h100", "runtime": "6h"},
                "pretrain": {"runtime": "1.5d", "gpu_model": None},
                "fcnn": {"gpus": 0, "memory": "0.5GB"},
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
    assert config.Config().resources_of("predict") == config.Resources()
