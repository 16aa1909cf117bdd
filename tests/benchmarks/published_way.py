"""The loop as it was published, rebuilt with the standard library: what the mesh is measured against.

Each trajectory in flight has its own spawned process with a blocking loop over its prompts and rounds, and asks up to
ten questions at once in threads. A server draws one picture at a time, takes a job by POST and is polled every 0.1 s.
Written from a description of the published code; none of it is here. A chat call is a wait in the worker, with no
server and no HTTP, and a picture is a wait: of 1 ms and of 10 ms unless the command line says otherwise. It runs as
`python -m tests.benchmarks.published_way`, so that its processes import no more than this, unless told to import torch,
as each of the published workers does.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

CHAT_S, PICTURE_S, POLL_S = 0.001, 0.01, 0.1
MAX_ROUNDS, MAX_THREADS = 5, 10
_QUESTIONS = ("Is r1 there?", "Is r2 there?")


def serve(picture: bytes, picture_s: float, port: Connection) -> None:
    """Draw one picture at a time until killed; GET / says how many there were."""
    jobs: SimpleQueue[int] = SimpleQueue()
    numbers = itertools.count(1)
    done: dict[int, bytes] = {}
    drawn = 0

    def draw() -> None:
        nonlocal drawn
        while True:
            number = jobs.get()
            time.sleep(picture_s)
            done[number] = picture
            drawn += 1

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            number = next(numbers)
            jobs.put(number)
            self._answer(202, json.dumps({"job": number}).encode())

        def do_GET(self) -> None:
            if self.path == "/":
                self._answer(200, json.dumps({"drawn": drawn}).encode())
            elif data := done.pop(int(self.path[1:]), b""):
                self._answer(200, data)
            else:
                self._answer(202, b"")

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=draw, daemon=True).start()
    port.send(server.server_port)
    server.serve_forever()


def work(url: str, out: str, imports: list[str], chat_s: float) -> None:
    """Take one prompt after another through the loop until killed."""
    for name in imports:
        importlib.import_module(name)
    for number in itertools.count():
        picture = draw_best(url, f"picture {number}", partial(chat, wait_s=chat_s))
        Path(out, f"{os.getpid()}-{number}.png").write_bytes(picture)


def draw_best(url: str, prompt: str, chat: Callable[[str], str]) -> bytes:
    """Plan, decompose, then draw, verify and refine until all is met or the rounds are spent."""
    chat(f"route: {prompt}")
    chat(f"decompose: {prompt}")
    best, most = b"", -1
    for _ in range(MAX_ROUNDS):
        picture = draw(url, prompt)
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            passed = [answer == "yes" for answer in pool.map(chat, _QUESTIONS)]
        if sum(passed) > most:
            best, most = picture, sum(passed)
        if all(passed):
            break
        experience = chat(f"compress: {passed}")
        prompt = chat(f"refine: {experience}")
    return best


def chat(question: str, wait_s: float) -> str:
    """Wait for the model and return what it says to everything."""
    time.sleep(wait_s)
    return "yes"


def draw(url: str, prompt: str) -> bytes:
    """Leave a job with the server, and ask until it is done."""
    request = urllib.request.Request(url, json.dumps({"prompt": prompt}).encode(), method="POST")
    with urllib.request.urlopen(request) as response:
        job = json.load(response)["job"]
    while True:
        time.sleep(POLL_S)
        with urllib.request.urlopen(f"{url}/{job}") as response:
            if response.status == 200:
                return bytes(response.read())


def main() -> None:
    """Start the server and the workers, say the server's address, and wait to be killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--chat-s", type=float, default=CHAT_S)
    parser.add_argument("--picture-s", type=float, default=PICTURE_S)
    parser.add_argument("--import", dest="imports", action="append", default=[])
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    picture = options.picture.read_bytes()
    spawn.Process(target=serve, args=(picture, options.picture_s, theirs), daemon=True).start()
    url = f"http://127.0.0.1:{ours.recv()}"
    workers = [
        spawn.Process(target=work, args=(url, str(options.out), options.imports, options.chat_s), daemon=True)
        for _ in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    print(url, flush=True)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
