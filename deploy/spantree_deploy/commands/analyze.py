"""`spantree analyze`: why an execution failed, in a terminal."""

from __future__ import annotations

from spantree_deploy import console, render_analysis
from spantree_deploy import options as opt
from spantree_deploy.client import api_of
from spantree_deploy.commands.read import Execution, Json, id_of, print_json


def analyze(
    execution: Execution = "last-failed",
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Analyse why an execution failed, keep the answer, and say it: cause, what is different, what to do."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    with api_of(settings) as api:
        answer = api.post(f"executions/{id_of(api, execution)}/analyze")
    if json:
        print_json(answer)
    else:
        console.out.lines(render_analysis.analysis_lines(answer))
