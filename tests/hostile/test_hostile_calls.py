"""Whatever is sent to the server: it refuses in words or does as it is asked, and nothing breaks.

`RUNE_HOSTILE_CALLS` is how many calls are made, always the same unless `RUNE_HOSTILE_ANEW` is set;
`make torture` makes ten thousand, drawn anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from engine_support import engines, until
from hostile_values import JUNK, Arguments, addresses, spelled
from house import Home, House, Visitor, check_refusal, left_behind
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcp.types import ListToolsResult

from rune_engine.client import EngineClient
from rune_engine.errors import EngineUnavailableError

CALLS = int(os.environ.get("RUNE_HOSTILE_CALLS", "400"))
AT_ONCE = 10
Call = Callable[[House], Coroutine[Any, Any, None]]


FILES = [
    (
        "run_task",
        {"task_description": "Add two numbers", "base_model": "scripted:{outside}/secret.txt"},
    ),
    ("run_task", {"task_description": "Add two numbers", "base_model": "scripted:/proc/kmsg"}),
    ("retrieve_adapter", {"project_id": "shop", "base_model": "scripted:{outside}/fifo"}),
    ("evaluate_adapter", {"adapter_id": "good", "suite": "{outside}/secret.txt"}),
    ("evaluate_adapter", {"adapter_id": "good", "suite": "{outside}/fifo"}),
    ("evaluate_adapter", {"adapter_id": "good", "suite": "/proc/kmsg"}),
    ("evaluate_adapter", {"adapter_id": "good", "suite": "/dev/zero"}),
    (
        "run_task",
        {"task_description": "Add two numbers", "test_suite": "assert 1", "workspace": "{home}"},
    ),
    (
        "run_task",
        {"task_description": "Add two numbers", "test_suite": "assert 1", "workspace": "/"},
    ),
    ("retrieve_adapter", {"project_id": "{outside}/fifo"}),
]


def test_a_file_that_is_none_is_refused_at_once_and_no_word_of_another_is_told(
    home: Home, visitor: Visitor
) -> None:
    places = {"outside": str(home.outside), "home": str(home.config.home)}
    for tool, given_arguments in FILES:
        arguments = {key: text.format(**places) for key, text in given_arguments.items()}
        answer = visitor.run(visitor.house.client.call_tool(tool, arguments))
        text = answer.content[0].text
        assert answer.is_error, (tool, arguments, text)
        check_refusal(tool, text)
        assert "outside 0" not in text
    assert home.writes.read_text() == ""


@pytest.mark.timeout(1800)
def test_no_hostile_call_breaks_the_server_or_the_engine_or_writes_outside_the_home(
    home: Home, visitor: Visitor
) -> None:
    house = visitor.house
    made_up = visitor.run(calls_of(house, home.known))

    @settings(
        max_examples=-(-CALLS // AT_ONCE),
        database=None,
        deadline=None,
        derandomize="RUNE_HOSTILE_ANEW" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(made_up, min_size=AT_ONCE, max_size=AT_ONCE))
    def make(batch: list[Call]) -> None:
        visitor.run(all_of(house, batch))

    make()
    visitor.run(house.is_well())
    assert house.calls >= CALLS
    assert house.refused > house.calls / 4  # most of it is hostile indeed
    assert house.refused < house.calls  # and some of it gets through
    visitor.run(nothing_runs(house))
    assert home.writes.read_text() == ""
    left_behind(home.config, home.outside, home.before)


async def all_of(house: House, batch: list[Call]) -> None:
    for call in batch:
        await call(house)


async def nothing_runs(house: House) -> None:
    """Stop the engine as its user would, so that what it held open is closed."""
    async with EngineClient(house.config) as client:
        for job in house.jobs:
            assert (await client.get_job(job)).status != "queued"
        with suppress(EngineUnavailableError):  # a busy machine: it ends a little later
            await client.stop()
    await until(lambda: not engines(house.config), "the engine has ended")


async def calls_of(house: House, known: list[str]) -> st.SearchStrategy[Call]:
    """Calls of everything that the server lists, and of things that it does not have."""
    tools = await house.client.list_tools()
    kinds = [tool_calls(tools, known), st.builds(_tool, spelled, JUNK)]
    templates = [
        t.uri_template for t in (await house.client.list_resource_templates()).resource_templates
    ]
    fixed = [str(resource.uri) for resource in (await house.client.list_resources()).resources]
    kinds.append(st.builds(_resource, st.one_of(addresses([*templates, *fixed]), spelled)))
    prompts = {prompt.name: prompt for prompt in (await house.client.list_prompts()).prompts}
    words = st.one_of(st.sampled_from(known), spelled)
    said = {
        each: [argument.name for argument in prompt.arguments or ()]
        for each, prompt in prompts.items()
    }
    kinds += [
        st.builds(_prompt, st.just(each), _some(names, words)) for each, names in said.items()
    ]
    kinds.append(st.builds(_prompt, spelled, st.dictionaries(spelled, words, max_size=3)))
    targets = [*(("prompt", each) for each in said), *(("resource", each) for each in templates)]
    names = sorted({each for names in said.values() for each in names}) or ["project_id"]
    of = st.one_of(
        st.sampled_from([*targets, ("prompt", "nobody")]),
        st.tuples(st.sampled_from(("prompt", "resource")), spelled),
    )
    kinds.append(st.builds(_complete, of, st.one_of(st.sampled_from(names), spelled), words))
    return st.one_of(*[kinds[0]] * 6, *kinds)


def tool_calls(tools: ListToolsResult, known: list[str]) -> st.SearchStrategy[Call]:
    return st.one_of(
        [
            st.builds(_tool, st.just(tool.name), Arguments(tool.input_schema, known).strategy())
            for tool in tools.tools
        ]
    )


def _some(names: list[str], words: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, words))


def _tool(called: str, arguments: dict[str, Any]) -> Call:
    return lambda house: house.tool(called, arguments)


def _resource(address: str) -> Call:
    return lambda house: house.resource(address)


def _prompt(called: str, arguments: dict[str, str]) -> Call:
    return lambda house: house.prompt(called, arguments)


def _complete(of: tuple[str, str], argument: str, value: str) -> Call:
    return lambda house: house.complete(of, {"name": argument, "value": value})
