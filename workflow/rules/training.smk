# Requires: store
# Makes:    models/<stage>, one folder per stage: weights, options, metrics of each epoch
#
#   store -> train (one job per stage, from the model that its start_from names) -> models
#
# A new stage is a new entry under `stages` in the config; its name is a target.


# With `exec`, the training itself receives the signal of a time limit, preemption or cancellation.
# `tee` shows the log on the terminal; it ignores these signals and ends with the training.
rule train:
    """Train the model of one stage on stars of the store."""
    input:
        store=rules.build_store.output.store,
        start=model_of_start,
        teacher=model_of_teacher,
    output:
        directory(f"{RESULTS}/models/{{stage}}"),
    log:
        f"{LOGS}/train/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{stage}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of()
    resources:
        **resources_of(),
    params:
        launcher=launcher,
        start=start_option,
        teacher=teacher_option,
        options=stage_options,
        resume=resume_option,
        checkpoints=f"{RESULTS}/checkpoints",
    shell:
        "exec {params.launcher:q} train {input.store:q} --name {wildcards.stage:q} --output {output:q}"
        " --checkpoints {params.checkpoints:q} {params.start:q} {params.teacher:q}"
        " {params.options:q}"
        " {params.resume:q} > >(trap '' HUP INT TERM; exec tee {log:q} >&2) 2>&1"


for stage in RUN.families:

    rule:
        """Short target for the model of a stage."""
        name:
            stage
        input:
            f"{RESULTS}/models/{stage}",
        localrule: True
