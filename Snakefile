# SpectraFM: from public APOGEE spectra to a stellar foundation model.
#
#   survey.smk      SAS -> allStar -> selected stars -> shards of spectra -> store
#                   (in spectrafm/surveys/, for the survey that the configuration names)
#   training.smk    store -> pretrain -> finetune_observed -> finetune_iron ...
#   evaluation.smk  models -> predictions -> metrics, Table 1, attention maps
#   figures.smk     store, models, predictions, attention -> figures
#   report.smk      everything above -> report; verify
#
# `snakemake --profile demo all` runs it on the mock survey, `snakemake all` on APOGEE DR17.

from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


# config.yaml is of APOGEE's survey; a run of another survey is a configuration of its own. A later file
# overrides an earlier one; --configfile and --config override all.
if (config.get("survey") or {}).get("name", "apogee") == "apogee":

    configfile: "config.yaml"


if config.get("base"):

    configfile: config["base"]


include: "workflow/rules/common.smk"
include: f"spectrafm/surveys/{SURVEYS[RUN.survey.name].rules}"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


rule all:
    """Make the report, metrics, Table 1 and all figures of the run."""
    default_target: True
    input:
        rules.report.output,
        rules.collect_metrics.output,
        rules.table1.output,
        rules.paper_comparison.output if RUN.published else [],
        FIGURE_FILES,
    localrule: True
