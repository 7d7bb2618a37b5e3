# Requires: store, models/<stage>, catalogue/astronn.parquet
# Makes:    predictions/<stage>--<evaluation>.parquet, metrics.json, tables/table1.*, tables/paper_comparison.*,
#           tables/draws.*,
#           tables/learning_curve.*, tables/calibration.*, tables/attention.*, attention/<stage>.zarr
#
#   models -> predict (one job per stage and evaluation) -> collect_metrics, table1, table_calibration
#   models -> map_attention, table_attention
#   repeats of the few-shot stages -> predict -> table_draws, table_learning_curve


rule predict:
    """Predict the labels of an evaluation's stars with a stage's model."""
    input:
        store=rules.build_store.output.store,
        model=f"{RESULTS}/models/{{stage}}",
    output:
        f"{RESULTS}/predictions/{{stage}}--{{evaluation}}.parquet",
    log:
        f"{LOGS}/predict/{{stage}}--{{evaluation}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{stage}}--{{evaluation}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("predict")
    resources:
        **resources_of("predict"),
    params:
        options=evaluation_options,
    shell:
        "spectrafm predict {input.model:q} {input.store:q} --name {wildcards.evaluation:q}"
        " --output {output:q} {params.options:q} > {log:q} 2>&1"


rule collect_metrics:
    """Score all predictions of the run."""
    input:
        prediction_files(RUN.predictions),
    output:
        f"{RESULTS}/metrics.json",
    log:
        f"{LOGS}/collect_metrics.log",
    benchmark:
        f"{BENCHMARKS}/collect_metrics.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "spectrafm collect-metrics {input:q} --output {output:q} > {log:q} 2>&1"


# A survey with no other catalogue of labels has no such rule.
ASTRONN = (
    rules.fetch_astronn.output
    if "fetch-astronn" in SURVEYS[RUN.survey.name].commands
    else []
)


rule table1:
    """Write Table 1: scatter and bias of each label, next to those of astroNN."""
    input:
        predictions=prediction_files(RUN.repeated(RUN.figures.table1)),
        astronn=ASTRONN,
    output:
        csv=report(
            f"{RESULTS}/tables/table1.csv",
            caption="../report/output.rst",
            category="Tables",
            labels={"table": "table1"},
        ),
        md=f"{RESULTS}/tables/table1.md",
        tex=f"{RESULTS}/tables/table1.tex",
    log:
        f"{LOGS}/table1.log",
    benchmark:
        f"{BENCHMARKS}/table1.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        caption=caption(COMMANDS["table1"]),
        logg=RUN.figures.table1_logg,
        astronn=astronn_option,
    shell:
        "spectrafm table1 {input.predictions:q} {params.astronn:q} --logg {params.logg:q}"
        " --output {output.csv:q} > {log:q} 2>&1"


if RUN.published:

    rule paper_comparison:
        """Write every published number beside that of the run."""
        input:
            predictions=prediction_files(RUN.published),
            astronn=rules.fetch_astronn.output,
        output:
            csv=f"{RESULTS}/tables/paper_comparison.csv",
            md=f"{RESULTS}/tables/paper_comparison.md",
        log:
            f"{LOGS}/paper_comparison.log",
        benchmark:
            f"{BENCHMARKS}/paper_comparison.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            logg=RUN.figures.table1_logg,
        shell:
            "spectrafm paper-comparison {input.predictions:q} --astronn {input.astronn:q}"
            " --logg {params.logg:q} --output {output.csv:q} > {log:q} 2>&1"


if RUN.fewshot.stages:

    rule table_draws:
        """Tabulate the scores of the few-shot stages over draws and seeds."""
        input:
            prediction_files(RUN.fewshot_predictions),
        output:
            csv=f"{RESULTS}/tables/draws.csv",
            md=f"{RESULTS}/tables/draws.md",
        log:
            f"{LOGS}/table_draws.log",
        benchmark:
            f"{BENCHMARKS}/table_draws.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            label=literal(RUN.fewshot.label),
            against=literal(RUN.fewshot.against or RUN.fewshot.stages[0]),
        shell:
            "spectrafm table-draws {input:q} --label {params.label:q} --against {params.against:q}"
            " --output {output.csv:q} > {log:q} 2>&1"


if RUN.learning_curve.stages:

    rule table_learning_curve:
        """Tabulate the error of stages against the number of stars that they learned from."""
        input:
            prediction_files(RUN.curve_predictions),
        output:
            csv=f"{RESULTS}/tables/learning_curve.csv",
            md=f"{RESULTS}/tables/learning_curve.md",
        log:
            f"{LOGS}/table_learning_curve.log",
        benchmark:
            f"{BENCHMARKS}/table_learning_curve.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            label=literal(RUN.learning_curve.label),
        shell:
            "spectrafm table-learning-curve {input:q} --label {params.label:q}"
            " --output {output.csv:q} > {log:q} 2>&1"


if RUN.shown_in("calibration"):

    rule table_calibration:
        """Tabulate how often the catalogue's value lies within the predicted errors."""
        input:
            prediction_files(RUN.repeated(RUN.shown_in("calibration"))),
        output:
            csv=report(
                f"{RESULTS}/tables/calibration.csv",
                caption="../report/output.rst",
                category="Tables",
                labels={"table": "calibration"},
            ),
            md=f"{RESULTS}/tables/calibration.md",
        log:
            f"{LOGS}/table_calibration.log",
        benchmark:
            f"{BENCHMARKS}/table_calibration.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            caption=caption(COMMANDS["table-calibration"]),
        shell:
            "spectrafm table-calibration {input:q} --output {output.csv:q} > {log:q} 2>&1"


rule map_attention:
    """Average a model's attention over giants and dwarfs."""
    input:
        store=rules.build_store.output.store,
        model=f"{RESULTS}/models/{RUN.attention.stage}",
    output:
        directory(f"{RESULTS}/attention/{RUN.attention.stage}.zarr"),
    log:
        f"{LOGS}/map_attention.log",
    benchmark:
        f"{BENCHMARKS}/map_attention.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("map_attention")
    resources:
        **resources_of("map_attention"),
    params:
        options=literal(options(RUN.attention, only=[Attention])),
    shell:
        "spectrafm map-attention {input.model:q} {input.store:q} --output {output:q}"
        " {params.options:q} > {log:q} 2>&1"


rule table_attention:
    """Test whether a model attends to the pixels that tell a label, and whether it needs them."""
    input:
        store=rules.build_store.output.store,
        model=f"{RESULTS}/models/{RUN.attention.stage}",
    output:
        csv=f"{RESULTS}/tables/attention.csv",
        md=f"{RESULTS}/tables/attention.md",
    log:
        f"{LOGS}/table_attention.log",
    benchmark:
        f"{BENCHMARKS}/table_attention.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("map_attention")
    resources:
        **resources_of("map_attention"),
    params:
        options=literal(options(RUN.attention, only=[Attention])),
    shell:
        "spectrafm table-attention {input.model:q} {input.store:q} --output {output.csv:q}"
        " {params.options:q} > {log:q} 2>&1"


rule attention:
    """Short target for the attention maps and the test of what they mean."""
    input:
        rules.map_attention.output,
        rules.table_attention.output,
    localrule: True
