"""Prints the shell lines that a configuration makes of the workflow's rules, as JSON.

``python shell_lines.py FOLDER TARGETS CONFIG...``: for each rule and figure the lines of all its
jobs, as many as the targets need, whose names are joined by commas; none is run.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

REPOSITORY = Path(__file__).parents[2]


def main(folder: str, targets: str, *configurations: str) -> None:
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=list(map(Path, configurations))),
            snakefile=REPOSITORY / "Snakefile",
            workdir=Path(folder),
        )
        dag = workflow.dag(dag_settings=DAGSettings(targets={*targets.split(",")}, forceall=True))
        dag.execute_workflow(executor="dryrun")
        lines = defaultdict(list)
        for job in workflow._workflow.dag.jobs:
            if job.is_shell:
                lines[job.rule.name].append(job.shellcmd)
    print(json.dumps(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
