"""A language model behind any OpenAI-compatible endpoint, through the official client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnemos.core.errors import EndpointError, MissingExtra


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, and what it cost."""

    text: str
    tokens: int
    """Prompt and completion together, as the endpoint counts; 0 if it does not say."""


class LanguageModel:
    """One chat model.

    Args:
        model: its name at the endpoint.
        base_url: the endpoint; the client's default if None.
        api_key: its key; the client's environment variable if None. Endpoints of one's own often need none.
        timeout: seconds to wait for a reply.
    """

    def __init__(
        self, model: str, *, base_url: str | None = None, api_key: str | None = None, timeout: float = 60.0
    ) -> None:
        self.model = model
        self._base_url = base_url
        self._api_key = api_key or ("none" if base_url else None)
        self._timeout = timeout
        self._client: Any = None

    def chat(self, messages: list[dict[str, str]]) -> Reply:
        """The model's reply at temperature 0.

        Raises:
            EndpointError: no connection, a refusal, or an empty reply.
            MissingExtra: the client is not installed.
        """
        try:
            import openai
        except ImportError:
            raise MissingExtra("a language model", "llm") from None
        try:
            if self._client is None:
                self._client = openai.OpenAI(base_url=self._base_url, api_key=self._api_key, timeout=self._timeout)
            done = self._client.chat.completions.create(model=self.model, messages=messages, temperature=0)
            text = done.choices[0].message.content
            tokens = done.usage.total_tokens if done.usage else 0
        except openai.APIStatusError as why:
            # the body may repeat the key: only the status is told
            raise EndpointError(
                f"{self.model}: the endpoint answered {why.status_code}: check model, key and base_url"
            ) from None
        except (openai.OpenAIError, AttributeError, IndexError, TypeError, ValueError) as why:
            raise EndpointError(f"{self.model}: no usable reply ({type(why).__name__}): is the endpoint up?") from None
        if not isinstance(text, str) or not text.strip():
            raise EndpointError(f"{self.model}: the reply is empty")
        return Reply(text, int(tokens or 0))
