"""Puts the model's back-ends to sleep and wakes them, and knows which of them are asleep.

One back-end's failure, or one that never answers, keeps no other from sleeping or waking; what
could not be woken is tried again by the next call. Knows nothing of whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from rune_engine.errors import InferenceError, RuneError
from rune_engine.inference.factory import ProviderPool

PROVIDER_SECONDS = 180.0
"""How long one back-end may take to fall asleep, or to have its weights back."""


class Sleepers:
    """The providers of one pool; belongs to one event loop.

    Args:
        providers: the pool.
        seconds: how long one provider may take to sleep or to wake.
    """

    def __init__(self, providers: ProviderPool, seconds: float = PROVIDER_SECONDS) -> None:
        self._providers = providers
        self._seconds = seconds
        self._asleep: set[str] = set()
        self._waking = asyncio.Lock()

    @property
    def asleep(self) -> list[str]:
        """The base models whose providers sleep, or may."""
        return sorted(self._asleep)

    def take_over(self, names: Iterable[str]) -> None:
        """Have these woken by the next `wake`: an engine that is gone put them to sleep.

        The configured one is always among them: its server may outlive engines.
        """
        self._asleep |= {*names, self._providers.name_of(None)}

    async def sleep(self) -> None:
        """Put every provider to sleep, the configured one too if it was never asked yet.

        Raises:
            RuneError: the first failure, once all have answered; then some may be awake.
        """
        with suppress(RuneError):
            self._providers.get()
        everyone = self._providers.everyone()
        self._asleep |= set(everyone)
        failures = await self._all(
            {name: provider.sleep for name, provider in everyone.items()}, "fall asleep"
        )
        for failure in failures.values():
            raise failure

    async def wake(self) -> dict[str, RuneError]:
        """Wake all that sleep; what kept those asleep that still are, by base model."""
        async with self._waking:
            calls: dict[str, Callable[[], Awaitable[None]]] = {}
            for name in self.asleep:
                # A model that cannot be served any more has nothing that could be woken.
                self._asleep.discard(name)
                with suppress(RuneError):
                    calls[name] = self._providers.get(name).wake
                    self._asleep.add(name)
            failures = await self._all(calls, "wake up")
            self._asleep -= set(calls) - set(failures)
            return failures

    async def _all(
        self, calls: dict[str, Callable[[], Awaitable[None]]], what: str
    ) -> dict[str, RuneError]:
        outcomes = await asyncio.gather(
            *(self._within_bounds(call) for call in calls.values()), return_exceptions=True
        )
        return {
            name: _failure(name, what, outcome)
            for name, outcome in zip(calls, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        }

    async def _within_bounds(self, call: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(self._seconds):
            await call()


def _failure(name: str, what: str, error: BaseException) -> RuneError:
    if isinstance(error, RuneError):
        return error
    reason = "it took too long" if isinstance(error, TimeoutError) else f"{error!r}"
    return InferenceError(
        f"The model {name!r} did not {what}: {reason}.",
        next_step="See whether its server runs and answers; the next call tries again.",
    )
