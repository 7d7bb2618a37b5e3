# Requires: store
# Makes:    models/<stage>, a folder each: weights, options, course of the training
#
#   store -> train (one job a stage, each from the model that its start_from names) -> models
#
# A new stage is a new entry under `stages` in the config; its name is a target.


# `exec`: the training itself receives the signal of a time limit, a preemption or a cancellation.
# `tee` shows on the terminal what goes to the log; it outlives these signals, and ends with the
# training.
rule train:
    """Train one stage: its model from the store, and from the model that it starts from."""
    input:
        store=rules.build_store.output.store,
        start=model_of_start,
    output:
        directory(f"{RESULTS}/models/{{stage}}"),
    log:
        f"{LOGS}/train/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{stage}}.tsv"
    conda:
        "../../envs/spectrafm.yaml"
    threads: threads_of()
    resources:
        **resources_of(),
    params:
        launcher=launcher,
        start=start_option,
        options=stage_options,
        resume=resume_option,
        checkpoints=f"{RESULTS}/checkpoints",
    shell:
        "exec {params.launcher} train {input.store} --name {wildcards.stage} --output {output}"
        " --checkpoints {params.checkpoints} {params.start} {params.options:q}"
        " {params.resume} > >(trap '' HUP INT TERM; exec tee {log} >&2) 2>&1"


for stage in RUN.stages:

    rule:
        """Train one stage, after those that it starts from."""
        name:
            stage
        input:
            f"{RESULTS}/models/{stage}",
        localrule: True
