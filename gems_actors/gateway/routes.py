"""The table of routes."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from gems_actors.app.mesh_requests import ask_within
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import RequestError
from gems_actors.gateway.allowances import Allowances
from gems_actors.gateway.answers import json_answer
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.edits.uploads import UploadRoom
from gems_actors.gateway.front import Front, failed, not_found
from gems_actors.gateway.images import LINKS_PATH, Images
from gems_actors.gateway.jobs.routes import JobRoutes
from gems_actors.gateway.jobs.runner import Jobs
from gems_actors.gateway.page.routes import STATIC_PATH, PageRoutes
from gems_actors.gateway.repeats import Repeats
from gems_actors.gateway.tokens import Tokens
from gems_actors.ops.prometheus import CONTENT_TYPE, metrics_text
from protocol.messages import ReadStatus

_HEALTH_S = 1.0
"""How long the mesh has to answer a health check."""


def application(
    config: MeshConfig,
    mesh: Mesh,
    tokens: Tokens,
    allowances: Allowances,
    draws: Draws,
    jobs: Jobs,
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the ASGI application of the gateway, with `more` routes."""
    uploads = UploadRoom()
    images = Images(config, draws, Repeats(mesh), uploads)

    async def check_health(request: Request) -> Response:
        """Answer 200 once pictures can be drawn, and 503 otherwise."""
        found = "the router does not answer"
        with trio.move_on_after(_HEALTH_S):
            try:
                roles = (await mesh.ask(ReadStatus())).roles
                ready = {role.role for role in roles if any(actor.capacity for actor in role.actors)}
                found = "ok" if "conductor" in ready else "no conductor is ready"
            except RequestError as error:
                found = str(error)
        return json_answer({"status": found}, 200 if found == "ok" else 503)

    async def show_metrics(request: Request) -> Response:
        """Answer a scrape of the whole mesh."""
        try:
            found = await ask_within(mesh, ReadStatus(), within_s=_HEALTH_S)
        except RequestError as error:
            raise api_error_of(error) from error
        return Response(metrics_text(found), media_type=CONTENT_TYPE)

    routes = [
        Route("/metrics", show_metrics),
        Route("/healthz", check_health),
        Route("/v1/models", images.list_models),
        Route("/v1/models/{model}", images.show_model),
        Route("/v1/images/generations", images.generate, methods=["POST"]),
        Route("/v1/images/edits", images.edit, methods=["POST"]),
        Route("/v1/images/variations", images.refuse_variations, methods=["POST"]),
        Route(LINKS_PATH + "{name}", images.show_picture),
        *JobRoutes(config, jobs, draws, uploads).routes(),
        *PageRoutes(config, mesh, draws, shows_own_only=tokens.are_needed).routes(),
        *more,
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: not_found, ApiError: failed})
    app.router.redirect_slashes = False
    return Front(app, tokens, allowances, config.gateway.hosts, public=("/healthz", LINKS_PATH, STATIC_PATH))
