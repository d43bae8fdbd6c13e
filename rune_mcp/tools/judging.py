"""The tools that judge adapters. Know the engine by its client and the wire models."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
from mcp.server.mcpserver import Context

from rune_engine.models import CompareParams, EvaluateParams
from rune_mcp import parameters as p
from rune_mcp.engine import EngineTools
from rune_mcp.following import WAIT_SECONDS, run_job, share_of
from rune_mcp.results.jobs import AdapterComparison, Evaluation, comparison, evaluation


class JudgingTools(EngineTools):
    """One method a tool; its docstring is what the agent reads."""

    async def evaluate_adapter(
        self,
        context: Context[None, Any],
        adapter_id: p.AdapterId,
        trajectory_ids: p.JudgedBy | None = None,
        suite: p.SuitePath | None = None,
        criterion: p.CriterionName = "tests",
        folds: p.Folds | None = None,
        samples: p.Samples = 1,
        temperature: p.SamplingTemperature | None = None,
        pass_at: p.PassAt = (1,),
        max_tasks: p.MaxTasks = 100,
        out_of_domain_tasks: p.OutOfDomainTasks | None = None,
        workspace: p.Workspace | None = None,
        base_model: p.BaseModelName | None = None,
        max_tokens: p.MaxTokens = 512,
        seed: p.Seed = 0,
        wait_seconds: p.WaitSeconds = WAIT_SECONDS,
    ) -> Evaluation:
        """Measures an adapter on tasks that it was not trained on, beside the base model alone.

        Both get the same tasks and seeds, and the sandbox judges them. Returns pass rates, the
        difference with its 95 % interval, what the adapter costs outside its domain, and the
        fitness that follows, null where too few tasks could be decided; or, when `wait_seconds`
        are over first, the job's id for `get_job`. Cancelling the call stops the work.
        """
        given = {name: value for name, value in locals().items() if value is not None}
        params = EvaluateParams(
            **{name: value for name, value in given.items() if name in EvaluateParams.model_fields}
        )
        client = self._engine.client
        submit, report = lambda: client.evaluate(params), context.report_progress
        return evaluation(await run_job(client, submit, report, wait_seconds))

    async def compare_adapters(
        self,
        context: Context[None, Any],
        adapter_id: p.AdapterId,
        other_id: p.OtherAdapter,
        measure: p.MeasureNow = True,
        wait_seconds: p.WaitSeconds = WAIT_SECONDS,
    ) -> AdapterComparison:
        """Puts two adapters beside each other, on held-out tasks that neither was trained on.

        Tasks that only one of them was measured on are measured first, unless `measure` is false.
        Returns the difference with its 95 % interval and what it says; when `wait_seconds` are
        over first, what is known until then and the id of the job that is still at it.
        """
        client = self._engine.client
        found = await client.compare_adapters(
            params := CompareParams(adapter_id=adapter_id, other_id=other_id)
        )
        job = None
        if measure and found.measurable:
            tasks = [*found.compared, *found.measurable]
            deadline = anyio.current_time() + wait_seconds
            for number, each in enumerate((adapter_id, other_id)):
                asked = EvaluateParams(adapter_id=each, trajectory_ids=tasks, out_of_domain_tasks=0)
                left = max(0.0, deadline - anyio.current_time())
                submit = partial(client.evaluate, asked)
                report = share_of(context.report_progress, number, 2)
                job = await run_job(client, submit, report, left)
            found = await client.compare_adapters(params)
        return comparison(found, job)
