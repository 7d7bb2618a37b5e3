# SpectraFM: from public APOGEE spectra to a stellar foundation model.
#
#   survey.smk      SAS -> allStar -> selected stars -> shards of spectra -> store
#   training.smk    store -> pretrain -> finetune_observed -> finetune_iron ...
#   evaluation.smk  models -> predictions -> metrics, Table 1, attention maps
#   figures.smk     predictions, attention -> Figures 1-5, report
#
# `snakemake --profile demo all` runs it on the mock survey, `snakemake all` on APOGEE DR17.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "spectrafm/surveys/apogee/survey.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.collect_metrics.output,
        rules.table1.output,
        rules.figure1.output,
        rules.figure2.output,
        rules.figure3.output,
        rules.figure4.output,
        rules.figure5.output,
    localrule: True
