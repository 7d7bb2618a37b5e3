rule build_store:
    """Write the toy store."""
    output:
        store=directory(f"{RESULTS}/store.zarr"),
    log:
        f"{LOGS}/build_store.log",
    params:
        options=options(RUN.survey),
    shell:
        "spectrafm make-toy --output {output.store} {params.options:q} > {log} 2>&1"


rule fetch_astronn:
    """No labels to compare with."""
    output:
        f"{RESULTS}/catalogue/astronn.parquet",
    shell:
        "exit 1"


rule store:
    """All that the network is needed for."""
    input:
        rules.build_store.output,
    localrule: True
