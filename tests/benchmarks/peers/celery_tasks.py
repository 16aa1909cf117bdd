"""Celery with Redis as broker and for results, two prefork processes; nothing is persisted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.load import ALONE, BODY, measurements, tell

COMMANDS = (("server",), ("worker",))
REQUIRES = ("celery", "redis")
_REQUESTS = 2_000
"""A tenth of the others' load: it takes as long."""


def missing() -> str:
    """Return what is not installed, if anything."""
    return "" if shutil.which("redis-server") else "redis-server"


def make_app(folder: str) -> Any:
    """Return the application and its one task."""
    url = f"redis+socket://{folder}/redis.sock"
    app = import_module("celery").Celery("peers", broker=url, backend=url)
    app.conf.update(worker_prefetch_multiplier=128, broker_connection_retry_on_startup=True)

    def plan(request: dict[str, Any]) -> dict[str, Any]:
        return {"type": "Plan", "prompt": request["prompt"]}

    return app, app.task(name="plan")(plan)


def main() -> None:
    """Be one of the processes."""
    folder, *what = sys.argv[1:]
    if what == ["server"]:
        subprocess.run(
            (
                "redis-server",
                "--port",
                "0",
                "--unixsocket",
                f"{folder}/redis.sock",
                "--save",
                "",
                "--loglevel",
                "warning",
            ),
            check=False,
        )
        return
    while not (Path(folder) / "redis.sock").exists():
        time.sleep(0.01)
    app, plan = make_app(folder)
    if what == ["worker"]:
        app.worker_main(["worker", "--concurrency=2", "--loglevel=ERROR", "--without-gossip", "--without-mingle"])
        return
    assert plan.delay(BODY).get(timeout=60)["prompt"] == BODY["prompt"]
    for window in measurements():
        if not window:
            alone = []
            for _ in range(ALONE // 4):
                began = time.perf_counter()
                plan.delay(BODY).get()
                alone.append(time.perf_counter() - began)
            tell(alone)
            continue
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            asked = list(pool.map(lambda _: plan.delay(BODY), range(_REQUESTS)))
        for result in asked:
            result.get()
        tell(_REQUESTS / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
