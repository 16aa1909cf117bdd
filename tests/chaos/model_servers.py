"""A chat server and an image server with bad days; what they answer follows from the request alone."""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from tests.end_to_end.test_chat_servers import answer
from tests.gems_actors.backends.chats import completion
from tests.gems_actors.backends.servers import Answer, Rule, ScriptedServer, drawn, open_server

MAX_BAD_ANSWERS: Final = 2
"""Bad answers to one request: a server that answers others may fail it three times, so that it is never given up."""
AWAY: Final = Answer(b"loading", 503)
SLOW_S: Final = 0.7


class ModelServer:
    """A server that is in a good or in a bad mood."""

    def __init__(self, rule: Rule) -> None:
        self.mood = ""
        """The kind of the bad day; empty on a good one."""
        self._rule, self._lock = rule, threading.Lock()
        self._bad_answers = Counter[bytes]()
        self.scripted = ScriptedServer(self._answer)

    def _answer(self, fields: dict[str, Any]) -> Answer:
        good, mood = self._rule(fields), self.mood
        if mood == "servers are away":
            return AWAY
        with self._lock:
            request = json.dumps(fields, sort_keys=True).encode()
            self._bad_answers[request] += bool(mood)
            if self._bad_answers[request] > MAX_BAD_ANSWERS:
                return good
        match mood:
            case "servers answer 500":
                return Answer(b'{"error": {"message": "CUDA error"}}', 500)
            case "servers are overloaded (429)":
                return Answer(b'{"error": {"message": "busy"}}', 429, {"Retry-After": "1"})
            case "servers cut their answers":
                good.cut_to = len(good.body) // 2
            case "servers answer garbage":
                return Answer(b"<html>it works</html>")
            case "servers are slow":
                good.delay_s = SLOW_S
        return good


def judge(fields: dict[str, Any]) -> Answer:
    """Answer each role; verdicts follow from picture and question."""
    content = fields["messages"][-1]["content"]
    if isinstance(content, list):
        return completion("no" if zlib.crc32(json.dumps(content).encode()) % 3 == 0 else "yes")
    return answer(fields)


class ModelServers:
    """The servers of one run."""

    def __init__(self) -> None:
        self.by_name = {"chat": ModelServer(judge), "image": ModelServer(drawn)}

    @contextmanager
    def open(self) -> Iterator[tuple[str, ...]]:
        """Serve during the block, and yield the settings of a mesh that uses these servers."""
        with ExitStack() as stack:
            urls = {
                name: stack.enter_context(open_server(server.scripted)).url for name, server in self.by_name.items()
            }
            yield (
                *(f"{name}.backend=openai" for name in urls),
                *(f"{name}.url={url}" for name, url in urls.items()),
                "verify.mode=words",
            )
