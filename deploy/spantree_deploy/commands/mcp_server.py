"""`spantree mcp`: the read-only tools of mcp/tools.py for whatever speaks the Model Context Protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from spantree_deploy import options as opt
from spantree_deploy.client import NotAnswered, api_at, server_of
from spantree_deploy.ports import listen
from spantree_exporter.errors import ConfigError, SpantreeError

_HOST: Final = "127.0.0.1"
_PORT: Final = 8811


def mcp(
    http: Annotated[bool, typer.Option("--http", help="listen on 127.0.0.1 instead of stdin and stdout")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            help=f"with --http: the port; its path is /mcp [default: {_PORT}]", min=1, max=65535, show_default=False
        ),
    ] = None,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Let a model ask what happened: an MCP server whose tools only read, over stdin and stdout or over HTTP.

    It asks the API of the server that runs on this data, or of --api-url, anew at each call.
    """
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    if port is not None and not http:
        raise ConfigError(["--port is of --http: give that, too, or leave --port out for standard input and output"])
    try:
        from spantree_deploy.mcp import stdio as model_stdio
        from spantree_deploy.mcp.tools import server
    except ModuleNotFoundError as error:
        raise SpantreeError(
            f'{error.name} is not installed, which `spantree mcp` needs: pip install "spantree[mcp]"'
        ) from error

    def ask(path: str, parameters: Mapping[str, Any]) -> Any:
        url = server_of(settings)
        if url is None:
            raise NotAnswered("no server of spantree runs on this data: start `spantree up`, or name --api-url", None)
        with api_at(url, settings) as api:
            return api.get(path, parameters)

    if http:
        import uvicorn

        asked = server(ask)
        app = asked.streamable_http_app(stateless_http=True, json_response=True, host=_HOST)
        # httptools, which uvicorn would choose, drops the bodies of requests that offer HTTP/2, as Java's client does.
        with contextlib.closing(listen(_HOST, port or _PORT, "port", option="--port")) as listener:
            settings_of_server = uvicorn.Config(app, http="h11", log_level=asked.settings.log_level.lower())
            uvicorn.Server(settings_of_server).run(sockets=[listener])
    else:
        model_stdio.run(server(ask))
