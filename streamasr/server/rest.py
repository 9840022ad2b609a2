"""What the server answers over plain HTTP: health, the model, how busy it is, and the way to the sockets.

Reads the registry of sessions; changes nothing.
"""

from collections.abc import Collection

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamasr.server.registry import Registry

PLAIN = ("/healthz", "/readyz", "/v1/models", "/v1/stats")


def routes(registry: Registry, sockets: Collection[str]) -> list[BaseRoute]:
    """Every route but the sockets' own; to be put after those. ``sockets`` are their paths."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        if refused := registry.not_ready():
            headers = {"Retry-After": str(round(refused.retry_after_s))}
            body = {"status": "not ready", "reason": refused.message, "percent": registry.loading.percent}
            return JSONResponse(body, 503, headers)
        return JSONResponse({"status": "ready"})

    async def models(_: Request) -> Response:
        if registry.not_ready() and not registry.draining:
            return JSONResponse({"object": "list", "data": []})
        services = registry.services
        model = services.model
        entry = {
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": "streamasr",
            "languages": list(model.languages),
            "tasks": ["transcribe", "translate"] if model.translates else ["transcribe"],
            "reason": services.reason,
            "notice": services.notice,
        }
        return JSONResponse({"object": "list", "data": [entry]})

    async def stats(_: Request) -> Response:
        return Response(msgspec.json.encode(registry.report()), media_type="application/json")

    async def nothing_here(websocket: WebSocket) -> None:
        await websocket.receive()  # websocket.connect
        await websocket.send_denial_response(not_found(websocket.url.path, sockets))

    plain = [Route(path, answer) for path, answer in zip(PLAIN, (healthz, readyz, models, stats), strict=True)]
    upgrades = [Route(path, upgrade_required) for path in sockets]
    return [*plain, *upgrades, WebSocketRoute("/{path:path}", nothing_here)]


def not_found(path: str, sockets: Collection[str]) -> Response:
    """The answer to a path that there is not: which ones there are."""
    message = f"there is no {path}; WebSockets connect to {', '.join(sockets)}, plain requests to {', '.join(PLAIN)}"
    return JSONResponse({"type": "error", "code": "not_found", "message": message, "fatal": True}, 404)


async def upgrade_required(request: Request) -> Response:
    """A plain request for a socket's path."""
    url = request.url.replace(scheme="wss" if request.url.scheme == "https" else "ws")
    body = {
        "type": "error",
        "code": "upgrade_required",
        "message": f"this path speaks WebSocket: connect to {url}",
        "fatal": True,
    }
    return JSONResponse(body, 426, {"Upgrade": "websocket", "Connection": "Upgrade"})
