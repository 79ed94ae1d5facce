"""Reading prompts and answers of any client: the text to preview, and what an answer says of itself.

By duck typing on stored data: no client library is imported and no code of theirs runs. What is not recognised is shown
as JSON of its normalised form, in which unknown objects are named by their type. Nothing here raises or changes what it
is given.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from structllm._answers import ResponseView, read_answer
from structllm._content import Excerpt, Piece, as_json, as_message, is_list, is_tuple, items, message_pieces, read
from structllm._objects import message_role

__all__ = ["PromptView", "ResponseView", "prompt_view", "response_view"]

# A batch is a list of conversations, which are lists of messages.
_BATCH_DEPTH = 2
_MAX_ROLE_CHARS = 40


class PromptView(NamedTuple):
    """What is logged of a prompt.

    Attributes:
        text: The beginning of the prompt as text.
        length: Characters of the whole text.
        message_count: Messages in it; None where it is no conversation.
    """

    text: str
    length: int
    message_count: int | None


def prompt_view(prompt: object, limit_chars: int) -> PromptView:
    """Return the prompt as text: a single user message as it is, several as `role: content` with blank lines between.

    Args:
        prompt: Text; a message or a list of them, as dicts, pairs or objects of OpenAI, Anthropic or LangChain; a batch
            (list of lists) or prompt value of LangChain; a request with `system` and `messages`; anything else.
        limit_chars: Characters to build; the length counts all of them.
    """
    if type(prompt) is str:
        return PromptView(prompt[: max(limit_chars, 0)], len(prompt), None)
    excerpt = Excerpt(limit_chars)
    try:
        texts = _texts(prompt)
        if texts is not None:
            _add_joined(excerpt, texts)
            return PromptView(excerpt.text, excerpt.length, None)
        messages = _messages(prompt)
        if messages is not None:
            _add_messages(excerpt, messages)
            return PromptView(excerpt.text, excerpt.length, len(messages))
    except Exception:
        excerpt = Excerpt(limit_chars)
    excerpt.add(as_json(prompt))
    return PromptView(excerpt.text, excerpt.length, None)


def response_view(response: object, limit_chars: int) -> ResponseView:
    """Return the answer's text and what it says of itself.

    Args:
        response: Text; an object or dict of OpenAI (chat, completions, Responses, embeddings) or Anthropic; a message,
            message chunk or result of LangChain; anything else, such as the parsed answer.
        limit_chars: Characters of text to build; the length counts all of them.
    """
    if response is None:
        return ResponseView()
    if type(response) is str:
        return ResponseView(response[: max(limit_chars, 0)], len(response))
    excerpt = Excerpt(limit_chars)
    try:
        view = read_answer(response, excerpt)
        if view is not None:
            return view
    except Exception:
        excerpt = Excerpt(limit_chars)
    excerpt.add(as_json(response))
    return ResponseView(excerpt.text, excerpt.length)


def _texts(prompt: object) -> Sequence[str] | None:
    """Return the texts of a prompt that is no conversation."""
    if isinstance(prompt, str):
        return [str.__str__(prompt)]
    texts = items(prompt)
    if texts and all(isinstance(text, str) for text in texts) and isinstance(prompt, list):
        return texts
    data = read(prompt)
    text = None if data is None or data.get("type") != "StringPromptValue" else data.get("text")
    return [text] if isinstance(text, str) else None


def _messages(prompt: object) -> list[Mapping[str, Any]] | None:
    message = as_message(prompt)
    if message is not None:
        return [message]
    if is_list(prompt) or is_tuple(prompt):
        return _all_messages(prompt, 0)
    data = read(prompt)
    if data is None or not isinstance(data.get("messages"), list | tuple):
        return None
    messages = _all_messages(data["messages"], 0)
    if messages is None or not data.get("system"):
        return messages
    return [{"role": "system", "content": data["system"]}, *messages]


def _all_messages(prompt: Sequence[Any], depth: int) -> list[Mapping[str, Any]] | None:
    messages: list[Mapping[str, Any]] = []
    for item in prompt:
        if is_list(item):
            inner = _all_messages(item, depth + 1) if depth < _BATCH_DEPTH else None
            if inner is None:
                return None
            messages += inner
            continue
        message = {"role": "user", "content": item} if isinstance(item, str) else as_message(item)
        if message is None:
            return None
        messages.append(message)
    return messages


def _add_messages(excerpt: Excerpt, messages: list[Mapping[str, Any]]) -> None:
    for index, message in enumerate(messages):
        if index:
            excerpt.add("\n\n")
        role = _said_role(message)
        if role and (len(messages) > 1 or role != "user"):
            excerpt.add(f"{role}: ")
        excerpt.add_pieces(message_pieces(message), joint="\n")


def _said_role(message: Mapping[str, Any]) -> str:
    """Return who speaks; what is no word is not written, since roles are lower-cased, and keys are not known so."""
    role = message_role(message)
    word = role.replace("_", "").replace("-", "")
    return role if not role or (word.isalpha() and len(role) <= _MAX_ROLE_CHARS) else "other"


def _add_joined(excerpt: Excerpt, texts: Iterable[str]) -> None:
    excerpt.add_pieces((Piece(text) for text in texts), joint="\n\n")
