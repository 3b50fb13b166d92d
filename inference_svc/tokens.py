"""From messages to token ids.

Invariant: what was sampled is never tokenized again. The ids so far stay as they are; only the text that the chat
template puts after them is tokenized. For turns that ended with the end-of-turn token the result is exactly the
template of the whole dialogue. Words in a message never become control tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tokenizers.decoders import DecodeStream

Role = Literal["system", "user", "assistant"]

# Stands for the assistant's turn whose ids exist already. No model or person writes it.
SENTINEL = "\u241earlier turn\u241e"


@dataclass(frozen=True)
class ChatMessage:
    role: Role
    content: str


class Spelling:
    """The text that tokens add to a prompt's; a part of a character waits for the rest of it."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=list(prompt), skip_special_tokens=True)

    def of(self, token_ids: Sequence[int]) -> str:
        return "".join(self._stream.step(self._tokenizer, token) or "" for token in token_ids)


class PromptAssembler:
    """One model's tokenizer and chat template."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.end_of_turn: int = tokenizer.eos_token_id
        self._end_of_turn_text: str = tokenizer.eos_token
        self._control_words = tuple(
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content
        )
        self._encode_cached = lru_cache(maxsize=4096)(self._encode)

    @classmethod
    def load(cls, directory: Path) -> PromptAssembler:
        from transformers import AutoConfig, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        config = AutoConfig.from_pretrained(str(directory), local_files_only=True)
        return cls(tokenizer, config.get_text_config().vocab_size)

    def assemble(
        self, token_ids_so_far: Sequence[int], new_messages: Sequence[ChatMessage], answer_prefix: str = ""
    ) -> list[int]:
        """The prompt for the assistant's next turn; without new messages, the ids so far are continued as they are."""
        ids = list(token_ids_so_far)
        if new_messages:
            new = [ChatMessage(message.role, self._harmless(message.content)) for message in new_messages]
            ids += self._after(ids, new) if ids else self._tokens(self._render(new))
        return ids + self.plain(answer_prefix)

    def plain(self, text: str) -> list[int]:
        """Text that stands by itself, as an answer's first words do; control words in it are ordinary characters."""
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) if text else []

    def spelling(self, prompt: Sequence[int]) -> Spelling:
        return Spelling(self._tokenizer.backend_tokenizer, prompt)

    def _after(self, ids: Sequence[int], new_messages: Sequence[ChatMessage]) -> list[int]:
        earlier = [ChatMessage("user", SENTINEL), ChatMessage("assistant", SENTINEL)]
        rendered = self._render([*earlier, *new_messages])
        following = rendered.rpartition(SENTINEL)[2]
        # A turn that was cut by its length lacks the end-of-turn token; then the template's own closes it.
        if ids[-1] == self.end_of_turn and following.startswith(self._end_of_turn_text):
            following = following[len(self._end_of_turn_text) :]
        return self._tokens(following)

    def _render(self, messages: Sequence[ChatMessage]) -> str:
        dialogue = [{"role": message.role, "content": message.content} for message in messages]
        return str(self._tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True))

    def _harmless(self, content: str) -> str:
        """A control word in a message gets a space after its first character, so it stays text."""
        content = content.replace(SENTINEL, "")
        for word in self._control_words:
            if word in content:
                content = content.replace(word, f"{word[0]} {word[1:]}")
        return content

    def _tokens(self, text: str) -> list[int]:
        return list(self._encode_cached(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))
