# Requires: everything else of the run
# Makes:    report.html
#
#   store, models, metrics, tables, figures -> report
#   verify checks every file that the run holds, made whenever it is asked for


rule report:
    """Put everything that the run made on one page."""
    input:
        rules.build_store.output,
        models_of(RUN.predictions),
        rules.collect_metrics.output,
        rules.table1.output,
        FIGURE_FILES,
    output:
        report(
            f"{RESULTS}/report.html",
            caption="../report/output.rst",
            category="The run on one page",
        ),
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        caption=caption(COMMANDS["report"]),
    shell:
        "spectrafm report {output} > {log} 2>&1"


rule verify:
    """Check every file of the run, and name what is wrong."""
    log:
        f"{LOGS}/verify.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        run=RESULTS,
    shell:
        "spectrafm verify {params.run} 2>&1 | tee {log}"
