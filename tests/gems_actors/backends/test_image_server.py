"""How many pictures a generator asks a server for."""

from __future__ import annotations

from gems_actors.backends.concurrency_limit import AdaptiveLimit
from gems_actors.backends.image_server import ServerImageModel


def test_a_server_that_draws_batches_of_sixteen_is_kept_busy() -> None:
    batch, batch_s = 16, 0.5
    limit = AdaptiveLimit()
    now, drawn, waiting = 0.0, 0, list[float]()
    while now < 60.0:
        while limit.in_flight < ServerImageModel.capacity and limit.can_start(now):
            limit.start()
            waiting.append(now)
        taken, waiting = waiting[:batch], waiting[batch:]
        now += batch_s
        for sent in taken:
            limit.succeed(now, now - sent)
        drawn += len(taken)
    assert drawn >= 0.9 * 60.0 * batch / batch_s
