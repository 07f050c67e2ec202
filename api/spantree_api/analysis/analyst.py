"""A language model behind pydantic-ai: any provider that it knows, by the setting SPANTREE_API_ANALYSIS_MODEL.

The model has no tools; it can only answer, in one form, once corrected. Keys are the provider's own variables
(OPENAI_API_KEY, ANTHROPIC_API_KEY ...), which pydantic-ai reads.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from spantree_api.analysis.model_answer import Analyst, ModelAnalysis, NoAnswer, Told, fault_of
from spantree_api.analysis.prompt import INSTRUCTIONS, Prompt
from spantree_api.config import ApiConfig
from spantree_exporter.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_log = logging.getLogger("spantree.api")
# Of one process: a model is slow, and every further one costs.
_AT_ONCE: Final = 4
_ANSWER_TOKENS: Final = 4_000
# One answer, and one that corrects it.
_REQUESTS: Final = 2


class PydanticAnalyst:
    """An Analyst. Make it in the server's event loop or outside of any."""

    def __init__(self, model: Model, name: str, timeout_s: float, most_chars: int) -> None:
        self._model = model
        self.name = name
        self.most_chars = most_chars
        self._timeout_s = timeout_s
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, prompt: Prompt) -> Told:
        """As Analyst.ask: within the timeout, waiting for a turn included."""
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._turn:
                    return await self._asked(prompt)
        except TimeoutError:
            raise NoAnswer(f"{self.name} did not answer within {self._timeout_s:g} s") from None

    async def _asked(self, prompt: Prompt) -> Told:
        from pydantic_ai import Agent, ModelRetry, UsageLimits
        from pydantic_ai.settings import ModelSettings

        agent = Agent(
            self._model,
            output_type=ModelAnalysis,
            instructions=INSTRUCTIONS,
            retries=_REQUESTS - 1,
            model_settings=ModelSettings(max_tokens=_ANSWER_TOKENS, temperature=0.0, timeout=self._timeout_s),
        )

        @agent.output_validator
        def check(answer: ModelAnalysis) -> ModelAnalysis:
            fault = fault_of(answer, prompt)
            if fault is not None:
                raise ModelRetry(f"{fault}: answer again")
            return answer

        try:
            result = await agent.run(prompt.text, usage_limits=UsageLimits(request_limit=_REQUESTS))
        except Exception as error:
            # Providers raise whatever their clients do. The text may quote the prompt: it is not passed on.
            _log.warning("the analysis by %s failed: %s", self.name, type(error).__name__)
            raise NoAnswer(f"{self.name} gave no answer that could be taken ({type(error).__name__})") from None
        usage = result.usage
        return Told(result.output, usage.input_tokens, usage.output_tokens)


def analyst_of(config: ApiConfig) -> Analyst | None:
    """The analyst that the settings name, None for none.

    Raises ConfigError where pydantic-ai, the provider's client or its key are not there, or it does not know the model.
    """
    if not config.analysis_model:
        return None
    try:
        from pydantic_ai.exceptions import UserError
        from pydantic_ai.models import infer_model
    except ImportError:
        raise ConfigError(
            [
                f"SPANTREE_API_ANALYSIS_MODEL is {config.analysis_model!r}, and pydantic-ai is not installed: "
                'pip install "spantree[analysis]"'
            ]
        ) from None
    try:
        model = infer_model(config.analysis_model)
    except (ImportError, UserError, ValueError) as error:
        raise ConfigError([f"SPANTREE_API_ANALYSIS_MODEL is {config.analysis_model!r}: {error}"]) from None
    return PydanticAnalyst(model, config.analysis_model, config.analysis_timeout_s, config.analysis_max_chars)
