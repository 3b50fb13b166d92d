"""OpenAI's chat completion request, as far as the doctor can honour it.

Nothing asked for is dropped in silence: a parameter is supported, or has its neutral value, or is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.rest.errors import OpenAIError

# Parameters of OpenAI's API that change nothing when they hold one of these values; with any other they are refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "store": (None, False),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "verbosity": (None,),
    "web_search_options": (None,),
    "service_tier": (None, "auto", "default"),
}
# For the caller's own books: they never change an answer, and nothing of them is kept.
_IGNORED = {"user", "metadata", "safety_identifier", "prompt_cache_key"}


def _parts(content: Any) -> Any:
    """A string is one part of text; what is neither string nor list has a clearer error than a union would give."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise ValueError("give a string or a list of text parts")
    return content


def _stops(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], BeforeValidator(_parts)]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(min_length=1, max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=512)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=32768)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=32768)
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]] | None, BeforeValidator(_stops)] = Field(
        default=None, max_length=4
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)


def parse_chat_request(body: dict[str, Any]) -> ChatRequest:
    """The request, or an error that names the parameter."""
    supported = dict(body)
    for name, value in body.items():
        if name in _IGNORED:
            del supported[name]
        elif name in _NEUTRAL:
            if not any(value == neutral and type(value) is type(neutral) for neutral in _neutral_values(name)):
                raise refused(name)
            del supported[name]
        elif name not in ChatRequest.model_fields:
            raise OpenAIError(400, f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")
    request = ChatRequest.model_validate(supported)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise OpenAIError(400, "Give max_tokens or max_completion_tokens, not both.", "max_tokens", "invalid_value")
    if request.stream_options is not None and not request.stream:
        raise OpenAIError(400, "stream_options is only allowed when stream is true.", "stream_options", "invalid_value")
    return request


def _neutral_values(name: str) -> list[Any]:
    values = list(_NEUTRAL[name])
    return values + [float(value) for value in values if type(value) is int]


def refused(name: str) -> OpenAIError:
    if name == "n":
        message = "n must be 1: one completion is sampled for a request. Send the request again for another."
    else:
        neutral = [value for value in _NEUTRAL[name] if value is not None]
        hint = (
            f" Leave it out or send {' or '.join(repr(value) for value in neutral)}." if neutral else " Leave it out."
        )
        message = f"{name} is not supported here.{hint}"
    return OpenAIError(400, message, name, "unsupported_parameter")
