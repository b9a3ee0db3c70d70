"""The labelling page on this machine's own address: FastAPI, a link for each annotator, no build step.

A link holds a token that works once: opening it leaves a cookie in that browser and takes the token out of
the address. Who has neither is refused, whatever they ask for. Another page cannot speak for an annotator:
the cookie is SameSite=Strict, answers are JSON, and requests under another host name are refused.
"""

import contextlib
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rec_rl.data.labels import Choice
from rec_rl.errors import ConfigError
from rec_rl.labelling.desk import LabellingDesk

HOST = "127.0.0.1"
REFUSED = "This link is not valid, or was used before. Start rec-rl label again for a new one."

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MEDIA = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


class AnswerBody(BaseModel):
    """What the page sends."""

    place: int = Field(ge=0)
    choice: Choice
    seconds: float = Field(ge=0, allow_inf_nan=False)


class Doorkeeper:
    """One-time tokens and the sessions that they were traded for."""

    def __init__(self, annotators: Sequence[str]) -> None:
        self._tokens = {secrets.token_urlsafe(24): name for name in annotators}
        self._sessions: dict[str, str] = {}
        self._lock = threading.Lock()

    def tokens(self) -> dict[str, str]:
        """Unused tokens by annotator."""
        return {name: token for token, name in self._tokens.items()}

    def admit(self, token: str) -> str | None:
        """Trades a token for the secret of a session; None if it is wrong or used."""
        with self._lock:
            name = self._tokens.pop(token, None)
            if name is None:
                return None
            secret = secrets.token_urlsafe(24)
            self._sessions[secret] = name
            return secret

    def annotator(self, secret: str | None) -> str | None:
        """Whose session it is; None if nobody's."""
        return self._sessions.get(secret or "")


def label_app(desk: LabellingDesk, doorkeeper: Doorkeeper, *, port: int) -> FastAPI:
    """The page's application.

    Args:
        desk: Asks and keeps.
        doorkeeper: Of the annotators' links.
        port: That it is served at; cookies do not tell ports apart, so that it is part of their name.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    cookie = f"rec_rl_label_{port}"
    lock = threading.Lock()

    @app.middleware("http")
    async def with_headers(request: Request, respond: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await respond(request)
        response.headers.update(_HEADERS)
        return response

    def known(request: Request) -> str:
        name = doorkeeper.annotator(request.cookies.get(cookie))
        if name is None:
            raise HTTPException(403, REFUSED)
        return name

    Known = Annotated[str, Depends(known)]

    @app.get("/", response_model=None)
    def enter(request: Request, token: str | None = None) -> Response:
        if doorkeeper.annotator(request.cookies.get(cookie)) is not None and token is None:
            return _file("page.html")
        secret = None if token is None else doorkeeper.admit(token)
        if secret is None:
            return PlainTextResponse(REFUSED, 403)
        response = RedirectResponse("/", 303)
        response.set_cookie(cookie, secret, httponly=True, samesite="strict")
        return response

    @app.get("/page.css", response_model=None)
    def style() -> Response:
        return _file("page.css")

    @app.get("/page.js", response_model=None)
    def script() -> Response:
        return _file("page.js")

    @app.get("/api/page")
    def page(annotator: Known) -> dict[str, Any]:
        with lock:
            return desk.page(annotator)

    @app.post("/api/answer")
    def answer(annotator: Known, body: AnswerBody) -> dict[str, Any]:
        with lock:
            try:
                desk.answer(annotator, body.place, body.choice, body.seconds)
            except ValueError as error:
                raise HTTPException(409, str(error)) from error
            return desk.page(annotator)

    @app.post("/api/undo")
    def undo(annotator: Known) -> dict[str, Any]:
        with lock:
            desk.undo(annotator)
            return desk.page(annotator)

    @app.get("/api/findings")
    def findings(annotator: Known) -> list[str]:
        with lock:
            return desk.findings()

    return app


def bind(port: int) -> socket.socket:
    """A socket on this machine's own address.

    Raises:
        ConfigError: If the port is taken or not allowed.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(f"port {port} cannot be used: {error}") from error
    return listening


def serve(desk: LabellingDesk, doorkeeper: Doorkeeper, listening: socket.socket) -> None:
    """Serves the page until it is interrupted."""
    app = label_app(desk, doorkeeper, port=listening.getsockname()[1])
    config = uvicorn.Config(app, log_level="error", access_log=False)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has closed
        uvicorn.Server(config).run(sockets=[listening])


def _file(name: str) -> Response:
    text = resources.files("rec_rl.labelling").joinpath(name).read_text(encoding="utf-8")
    return Response(text, media_type=_MEDIA[name])
