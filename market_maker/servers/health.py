"""The health server of a running bot: is it alive, what is it doing, what did it measure."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

STATUS_TIMEOUT_S = 5.0
SHUTDOWN_TIMEOUT_S = 1

# Returns why the bot is not alive, or `None`.
Liveness = Callable[[], str | None]
Status = Callable[[], Awaitable[Mapping[str, object]]]
RenderMetrics = Callable[[], bytes]

_log = structlog.stdlib.get_logger(__name__)


async def serve_health(
    host: str,
    port: int,
    *,
    liveness: Liveness,
    status: Status,
    metrics: RenderMetrics,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """
    Serve `/health`, `/status` and `/metrics` until canceled, inside the running loop.

    A port that is taken is a warning and an early return: trading does not depend on being
    watched. `on_listening` is told the port, which matters when `port` is 0.
    """
    try:
        listener = _listen(host, port)
    except OSError as error:
        _log.warning(
            "health_server_unavailable", host=host, port=port, reason=error.strerror or str(error)
        )
        return
    with listener:
        port_bound = listener.getsockname()[1]
        app = build_health_app(liveness=liveness, status=status, metrics=metrics)
        async with _running(app, listener) as serving:
            _log.info("health_server_listening", host=host, port=port_bound)
            if on_listening is not None:
                on_listening(port_bound)
            try:
                await asyncio.shield(serving)
            except Exception as error:  # noqa: BLE001  # watching must never stop trading
                _log.warning("health_server_stopped", reason=str(error), exc_info=True)


def build_health_app(*, liveness: Liveness, status: Status, metrics: RenderMetrics) -> Starlette:
    """Return the three pages as an ASGI application."""

    async def get_health(_request: Request) -> Response:
        reason = liveness()
        if reason is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "stuck", "reason": reason}, status_code=503)

    async def get_status(_request: Request) -> Response:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                return JSONResponse(dict(await status()))
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller waits for an answer
            # The text of an error may hold what is nobody's business; the log redacts, this cannot.
            _log.warning("status_unavailable", reason=str(error), exc_info=True)
            return JSONResponse({"error": "the status cannot be read now"}, status_code=503)

    async def get_metrics(_request: Request) -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/health", get_health),
            Route("/status", get_status),
            Route("/metrics", get_metrics),
        ]
    )


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals of the process to the bot."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _running(app: Starlette, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="health-server")
    try:
        yield serving
    finally:
        server.should_exit = True
        with contextlib.suppress(Exception):
            await asyncio.wait_for(serving, timeout=2 * SHUTDOWN_TIMEOUT_S)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A bot killed a moment ago leaves connections in TIME_WAIT; its port is free all the same.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
