"""Exports of chat services: ChatGPT's and Claude's conversations.json, loose, unpacked or in their zip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnemos.core.clock import iso
from mnemos.text.importers.base import (
    Report,
    Skipped,
    checked,
    digest,
    documents,
    key_of,
    listed,
    time_of,
    top_keys,
)
from mnemos.text.records import Item

_MEMBER = re.compile(r"conversations(-\d+)?\.json")
_SPOKEN = ("text", "multimodal_text")


class ChatGPT:
    """The branch of every conversation that its owner last saw; replies regenerated away stay out."""

    name = "chatgpt"
    description = "ChatGPT data export: conversations.json, or the .zip with it"

    def detects(self, path: Path) -> bool:
        return "mapping" in top_keys(path, _MEMBER)

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        for name, value in documents(path, _MEMBER):
            for number, talk in enumerate(listed(value, name, "a ChatGPT export")):
                where = f"{name}, conversation {number + 1}"
                if not isinstance(talk, dict) or not isinstance(talk.get("mapping"), dict):
                    skipped(Skipped(where, "no object with a mapping of messages"))
                    continue
                session = _session(talk, ("conversation_id", "id"), "title", "create_time", number)
                for node, message in _branch(talk, where, skipped):
                    item = _chatgpt_item(name, talk, session, node, message, skipped)
                    if item is not None:
                        yield item


class Claude:
    """Every message of every conversation, in order; what tools said and thought stays out."""

    name = "claude"
    description = "Claude data export: conversations.json, or the .zip with it"

    def detects(self, path: Path) -> bool:
        return "chat_messages" in top_keys(path, _MEMBER)

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        for name, value in documents(path, _MEMBER):
            for number, talk in enumerate(listed(value, name, "a Claude export")):
                where = f"{name}, conversation {number + 1}"
                if not isinstance(talk, dict) or not isinstance(talk.get("chat_messages"), list):
                    skipped(Skipped(where, "no object with a list of chat_messages"))
                    continue
                session = _session(talk, ("uuid",), "name", "created_at", number)
                for place, message in enumerate(talk["chat_messages"], 1):
                    if not isinstance(message, dict):
                        skipped(Skipped(f"{session}, message {place}", "not an object"))
                        continue
                    item = _claude_item(name, talk, session, place, message, skipped)
                    if item is not None:
                        yield item


# -- ChatGPT -------------------------------------------------------------------------------


def _branch(talk: Mapping[str, Any], where: str, skipped: Report) -> list[tuple[str, dict[str, Any]]]:
    """(node id, message) from the root to the current node."""
    nodes = {id: node for id, node in talk["mapping"].items() if isinstance(node, dict)}
    current = talk.get("current_node")
    if not isinstance(current, str) or current not in nodes:
        current = _newest_leaf(nodes)
    path: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    while isinstance(current, str) and current in nodes:
        if current in seen:
            skipped(Skipped(where, f"its messages form a ring at {current}: what lies before it is left out"))
            break
        seen.add(current)
        message = nodes[current].get("message")
        if isinstance(message, dict):
            path.append((current, message))
        current = nodes[current].get("parent")
    return path[::-1]


def _newest_leaf(nodes: Mapping[str, dict[str, Any]]) -> str | None:
    """Where an export without a usable current_node ends: the latest message that nobody answered."""
    parents = {node.get("parent") for node in nodes.values() if isinstance(node.get("parent"), str)}
    leaves = [id for id in nodes if id not in parents]
    return max(leaves, key=lambda id: time_of(_of(nodes[id], "message").get("create_time")) or 0.0, default=None)


def _chatgpt_item(
    name: str, talk: Mapping[str, Any], session: str, node: str, message: Mapping[str, Any], skipped: Report
) -> Item | None:
    where = f"{session}, message {node}"
    role, content = _of(message, "author").get("role"), _of(message, "content")
    kind = content.get("content_type", "text")
    recipient = message.get("recipient") or "all"
    if role not in ("user", "assistant"):
        skipped(Skipped(where, f"role {role}: only user and assistant are remembered"))
        return None
    if kind not in _SPOKEN or recipient != "all":
        skipped(Skipped(where, f"content {kind} to {recipient}: no part of the conversation"))
        return None
    parts = content.get("parts")
    parts = parts if isinstance(parts, list) else []
    if others := sum(not isinstance(part, str) for part in parts):
        skipped(Skipped(where, f"{others} part(s) that are no text (images, files)"))
    at = time_of(message.get("create_time"), talk.get("create_time"))
    return _item(name, "chatgpt", talk.get("title"), session, node, role, parts, at, where, skipped)


# -- Claude --------------------------------------------------------------------------------


def _claude_item(
    name: str, talk: Mapping[str, Any], session: str, place: int, message: Mapping[str, Any], skipped: Report
) -> Item | None:
    id = message.get("uuid")
    where = f"{session}, message {id or place}"
    sender = message.get("sender")
    if sender not in ("human", "assistant"):
        skipped(Skipped(where, f"sender {sender}: only human and assistant are remembered"))
        return None
    blocks = message.get("content")
    blocks = blocks if isinstance(blocks, list) else []
    texts = [
        b["text"] for b in blocks if isinstance(b, dict) and b.get("type") == "text" and isinstance(b.get("text"), str)
    ]
    if len(texts) < len(blocks):
        skipped(Skipped(where, f"{len(blocks) - len(texts)} block(s) that are no text (tools, thoughts)"))
    if not blocks:  # older exports have the text alone
        texts = [message["text"]] if isinstance(message.get("text"), str) else []
    attached = message.get("attachments")
    if isinstance(attached, list) and attached:
        skipped(Skipped(where, f"{len(attached)} attachment(s): import the files themselves"))
    at = time_of(message.get("created_at"), talk.get("created_at"))
    role = "user" if sender == "human" else "assistant"
    message_id = id if isinstance(id, str) and id else f"{place}-{digest(''.join(texts))}"
    return _item(name, "claude", talk.get("name"), session, message_id, role, texts, at, where, skipped)


# -- both ----------------------------------------------------------------------------------


def _item(
    file: str, format: str, title: Any, session: str, id: str, role: str, parts: list[Any], at: float | None,
    where: str, skipped: Report,
) -> Item | None:  # fmt: skip
    text = "\n".join(part for part in parts if isinstance(part, str) and part.strip())
    if not text:
        skipped(Skipped(where, "empty: it has no text"))
        return None
    metadata = {"file": file, "message": id} | ({"title": title} if isinstance(title, str) and title else {})
    fields = {
        "text": text, "speaker": role, "source": role, "session": session, "at": at, "metadata": metadata,
        "key": key_of(format, session, id),
    }  # fmt: skip
    return checked(fields, where, skipped)


def _session(talk: Mapping[str, Any], ids: tuple[str, ...], title: str, created: str, number: int) -> str:
    """A name that no other conversation of the export has: its id, or title and time."""
    for name in ids:
        if isinstance(talk.get(name), str) and talk[name]:
            return str(talk[name])
    at = time_of(talk.get(created))
    return f"{talk.get(title) or 'conversation'} ({iso(at) if at is not None else number + 1})"


def _of(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}
