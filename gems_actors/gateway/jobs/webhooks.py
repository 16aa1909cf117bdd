"""Reports the end of jobs to the servers of callers, signed, and again until they answer.

Source: https://www.standardwebhooks.com/ (ids, headers and signatures), which SDKs of OpenAI verify.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import httpx
import structlog
import trio

from gems_actors.gateway.jobs.records import Webhook

DELAYS_S: Final = (0.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0)
"""Before each attempt."""
_TIMEOUT_S: Final = 15.0

_log = structlog.get_logger()


async def report(hook: Webhook, id_: str, body: bytes, delays_s: Sequence[float] = DELAYS_S) -> bool:
    """Send a report until it is answered with 2xx, and return whether it was; the id stays the same."""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
        for delay_s in delays_s:
            await trio.sleep(delay_s)
            headers = {"content-type": "application/json", **signed_headers(hook.secret, id_, int(time.time()), body)}
            try:
                answer = await client.post(hook.url, content=body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                _log.warning("webhook_unanswered", id=id_, reason=f"{type(error).__name__}: {error}")
                continue
            if answer.is_success:
                return True
            _log.warning("webhook_refused", id=id_, status=answer.status_code)
    _log.error("webhook_given_up", id=id_, attempts=len(delays_s))
    return False


def signed_headers(secret: str, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a server verifies a report."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
