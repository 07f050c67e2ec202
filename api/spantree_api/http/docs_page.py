"""An OpenAPI document -> one HTML page: paths with their parameters and answers, the fields of every answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid #8885; margin-top: 2.5rem; }
h3 code { font-size: 15px; }
table { border-collapse: collapse; width: 100%; }
@media (max-width: 40rem) { table { display: block; overflow-x: auto; } }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; }
.method { font-weight: bold; color: #0a7; }
.quiet { opacity: .75; }
nav li { display: inline-block; margin-right: 1rem; }
nav ul { padding: 0; }
"""
_METHODS = ("get", "post", "put", "patch", "delete")


def docs_page(document: Mapping[str, Any], openapi_url: str) -> str:
    """The whole page. Every text of the document is escaped."""
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    ]
    schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
    tags = dict.fromkeys(tag for _, _, operation in operations for tag in operation.get("tags", ["other"]))
    parts = [
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('summary', ''))}</p>",
        f'<p>For programs: <a href="{escape(openapi_url)}">{escape(openapi_url)}</a>. Every error has one shape: '
        '<a href="#ErrorAnswer">ErrorAnswer</a>.</p>',
        _navigation(operations),
    ]
    for tag in tags:
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [
            _operation(path, method, operation)
            for path, method, operation in operations
            if tag in operation.get("tags", ["other"])
        ]
    parts.append("<h2>What the answers hold</h2>")
    parts += [_schema(name, schema) for name, schema in sorted(schemas.items())]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _navigation(operations: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    links = "".join(
        f'<li><a href="#{_anchor(method, path)}"><code>{escape(path)}</code></a></li>' for path, method, _ in operations
    )
    return f"<nav><ul>{links}</ul></nav>"


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(map(_parameter, operation.get("parameters", ())))
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{_content(answer)}</td>"
        f"<td>{escape(answer.get('description', ''))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    takes = (
        f"<table><tr><th>parameter</th><th>type</th><th>default</th><th></th></tr>{parameters}</table>"
        if parameters
        else ""
    )
    body = operation.get("requestBody")
    sends = f"<p>Takes {_content(body)}</p>" if body else ""
    heading = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
    return (
        f'<h3 id="{_anchor(method, path)}">{heading}</h3>'
        f"<p>{_paragraphs(operation.get('description', operation.get('summary', '')))}</p>{takes}{sends}"
        f"<table><tr><th>status</th><th>answer</th><th></th></tr>{answers}</table>"
    )


def _parameter(parameter: Mapping[str, Any]) -> str:
    schema = parameter.get("schema", {})
    default = schema.get("default")
    required = " <span class=quiet>required</span>" if parameter.get("required") else ""
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code>{required}</td><td>{_type(schema)}</td>"
        f"<td>{'' if default is None else f'<code>{escape(str(default))}</code>'}</td>"
        f"<td>{escape(parameter.get('description', schema.get('description', '')))}</td></tr>"
    )


def _content(answer: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{_type(content.get('schema', {}))} <span class=quiet>{escape(media)}</span>"
        for media, content in answer.get("content", {}).items()
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' <span class=quiet>optional</span>'}</td>"
        f"<td>{_type(of)}</td><td>{escape(of.get('description', ''))}</td></tr>"
        for field, of in schema.get("properties", {}).items()
    )
    return (
        f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3><p>{_paragraphs(schema.get("description", ""))}</p>'
        f"<table>{rows}</table>"
    )


def _type(schema: Mapping[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = escape(str(reference).rpartition("/")[2])
        return f'<a href="#{name}"><code>{name}</code></a>'
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_type, choices))
    if values := schema.get("enum"):
        return " ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        of = schema.get("prefixItems")
        return f"pair of {_type(of[0])}" if of else f"list of {_type(schema.get('items', {}))}"
    told = str(schema.get("type", "any"))
    bounds = [f"{sign} {schema[key]}" for sign, key in (("≥", "minimum"), ("≤", "maximum")) if key in schema]
    return escape(" ".join([told, *bounds]))


def _paragraphs(text: str) -> str:
    return "</p><p>".join(escape(part.strip()) for part in text.split("\n\n"))


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}{path}".replace("/", "-").replace("{", "").replace("}", "").replace(":", "-"))
