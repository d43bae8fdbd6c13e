"""The endpoint's three routes, from a request's body to an answer's."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rune_engine.inference.provider import GenerationRequest
from rune_engine.service.engine import Engine
from rune_engine.service.openai import schemas
from rune_engine.service.openai.answering import Answers, Asked, while_connected
from rune_engine.service.openai.bodies import Bodies, Body, ChatBodies, TextBodies
from rune_engine.service.openai.choosing import models, wanted
from rune_engine.service.openai.conversation import to_chat
from rune_engine.service.openai.refusals import no_such_model
from rune_engine.service.openai.streaming import EventStream, choice_headers

_CLIENT_GONE = 499
_SEEDS = 2**31


class Routes:
    """What the paths of one engine's endpoint do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answers = Answers(engine)

    def table(self) -> list[Route]:
        return [
            Route("/v1/models", self.list_models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.get_model, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        ]

    def list_models(self, _request: Request) -> Response:
        """A plain function, which Starlette runs on a thread: it reads the database."""
        return JSONResponse({"object": "list", "data": self._models()})

    def get_model(self, request: Request) -> Response:
        name = request.path_params["model"]
        found = [model for model in self._models() if model["id"] == name]
        if not found:
            raise no_such_model(name)
        return JSONResponse(found[0])

    async def chat(self, request: Request) -> ASGIApp:
        asked = schemas.ChatRequest.model_validate_json(await request.body())
        asked.check()
        prompts = [GenerationRequest(to_chat(asked.messages), logprobs=bool(asked.logprobs))]
        return await self._answer(request, asked, _sampled(asked, prompts), ChatBodies)

    async def complete(self, request: Request) -> ASGIApp:
        asked = schemas.CompletionRequest.model_validate_json(await request.body())
        asked.check()
        logprobs = asked.logprobs is not None
        prompts = [GenerationRequest(prompt=text, logprobs=logprobs) for text in asked.prompts]
        return await self._answer(request, asked, _sampled(asked, prompts), TextBodies)

    async def _answer(
        self,
        request: Request,
        body: schemas.Completion,
        requests: tuple[GenerationRequest, ...],
        kind: type[Bodies],
    ) -> ASGIApp:
        bodies = partial(kind, copies=body.n or 1, ignored=body.ignored)
        default_project = self._engine.config.openai_project
        asked = Asked(wanted(body.model, request.headers, default_project), requests)
        if body.stream:
            events = self._answers.streamed(asked)
            return EventStream(events, bodies, len(requests), body.include_usage)
        answer = await while_connected(request.receive, self._answers.whole(asked))
        if answer is None:
            return Response(status_code=_CLIENT_GONE)
        choice, generations = answer
        return JSONResponse(
            bodies(choice).whole(generations), HTTPStatus.OK, choice_headers(choice)
        )

    def _models(self) -> list[Body]:
        base_model_id = self._engine.providers.get().base_model_id
        return [
            {"id": name, "object": "model", "created": created, "owned_by": "rune"}
            for name, created in models(self._engine.registry, base_model_id)
        ]


def _sampled(
    asked: schemas.Completion, prompts: list[GenerationRequest]
) -> tuple[GenerationRequest, ...]:
    """`n` requests for each prompt, each with a seed of its own; greedy unless told otherwise."""
    seed = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed
    return tuple(
        replace(
            prompt,
            max_tokens=asked.token_limit,
            temperature=asked.temperature or 0.0,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            stop=asked.stops,
            seed=(seed + copy) % _SEEDS,
        )
        for prompt in prompts
        for copy in range(asked.n or 1)
    )
