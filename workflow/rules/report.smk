# Requires: everything else of the run
# Makes:    report.html, SHA256SUMS
#
#   store, models, metrics, tables, figures -> report
#   verify has no output: it checks every file of the run whenever it is named as a target


rule report:
    """Write the report of the run, one HTML page."""
    input:
        rules.build_store.output,
        models_of(RUN.predictions),
        rules.collect_metrics.output,
        rules.table1.output,
        rules.paper_comparison.output if RUN.published else [],
        FIGURE_FILES,
    output:
        page=report(
            f"{RESULTS}/report.html",
            caption="../report/output.rst",
            category="The run on one page",
        ),
        sums=f"{RESULTS}/SHA256SUMS",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        caption=caption(COMMANDS["report"]),
    shell:
        "spectrafm report {output.page:q} > {log:q} 2>&1"


rule verify:
    """Check every file of the run, and name missing and damaged ones."""
    log:
        f"{LOGS}/verify.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        run=RESULTS,
    shell:
        "spectrafm verify {params.run:q} 2>&1 | tee {log:q}"
