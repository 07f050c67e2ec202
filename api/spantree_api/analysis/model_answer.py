"""What a language model answers, and what of it is taken. Pure.

Its words came about under the eyes of hostile text: ids are checked against the trace, links go, and nothing of it
is more than text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from pydantic import BaseModel, Field, StringConstraints

from spantree_api.analysis.prompt import Prompt
from spantree_api.answers.analysis import AnalysisAnswer
from spantree_api.redaction import redacted, visible

_LINK: Final = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{0,20}://|(?<![\w:])//(?=\w)|\bwww\.|\bjavascript:|\bmailto:|\bdata:\w{1,40}/)"
    r"[^\s)\]>\"']{0,2000}",
    re.IGNORECASE,
)
_MARKUP: Final = re.compile(r"<(?=[a-z/!?])|`|!\[|\]\(", re.IGNORECASE)
_ID: Final = re.compile(r"\b[0-9a-f]{16}(?:\.\d{1,9})?\b")

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=600)]
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


class ModelAnalysis(BaseModel):
    """Why the execution failed."""

    root_cause: Annotated[Paragraph, Field(description="what went wrong, in one to three sentences")]
    first_failed_node_id: Annotated[Line, Field(description="id of one of failed_nodes")]
    why: Annotated[Paragraph, Field(description="why that node failed first")]
    fixes: Annotated[list[Line], Field(min_length=1, max_length=8, description="what to do, most helpful first")]
    prevention: Annotated[list[Line], Field(max_length=8, description="what keeps it from coming back")]


@dataclass(frozen=True, slots=True)
class Told:
    """A model's answer, and what it took."""

    answer: ModelAnalysis
    input_tokens: int
    output_tokens: int


class NoAnswer(Exception):
    """The model gave nothing that could be taken; the text says why, and holds nothing of a span."""


class Analyst(Protocol):
    """Somebody who answers a prompt."""

    name: str
    """of the model"""
    most_chars: int
    """of a prompt"""

    async def ask(self, prompt: Prompt) -> Told:
        """The answer, in bounded time. Raises NoAnswer."""
        ...


def fault_of(answer: ModelAnalysis, prompt: Prompt) -> str | None:
    """Why an answer cannot be taken; None where it can."""
    if answer.first_failed_node_id not in prompt.names:
        return "it names a node that is none of the failed ones"
    texts = (answer.root_cause, answer.why, *answer.fixes, *answer.prevention)
    named = {found for text in texts for found in _ID.findall(text.lower())}
    # Ids that the record quotes are quotations.
    if any(one not in prompt.names and one not in prompt.text for one in named):
        return "it names an id that the trace does not have"
    return None


def taken(rules: AnalysisAnswer, told: Told, prompt: Prompt, model: str) -> AnalysisAnswer:
    """The analysis with the model's words instead of the rules'; what is measured stays as the rules found it."""
    answer = told.answer
    return {
        **rules,
        "by": "model",
        "model": model,
        "root_cause": plain(answer.root_cause),
        "first_failed_node": {
            "id": answer.first_failed_node_id,
            "name": prompt.names[answer.first_failed_node_id],
            "why": plain(answer.why),
        },
        "fixes": [plain(text) for text in answer.fixes],
        "prevention": [plain(text) for text in answer.prevention],
        "tokens": {"input": told.input_tokens, "output": told.output_tokens},
    }


def plain(text: str) -> str:
    """A model's words as text: no links, no markup, no secrets, nothing unseen."""
    return redacted(_MARKUP.sub("", _LINK.sub("(link left out)", visible(text))))
