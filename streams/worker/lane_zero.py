"""What one worker of all does: the one that has lane 0."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from agents.executing.attempts import Attempts
from agents.executing.ground import Ground
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from schemas.settings import Settings
from streams.batching.ends import Surroundings
from streams.batching.gatherer import Gatherer
from streams.deliveries.pacer import DeliveryPacer
from streams.failpoints import FailPoints
from streams.messages.sealing import Vault
from streams.worker.assembly import protection_of

__all__ = ["LaneZero", "at_lane_zero"]


class LaneZero:
    """Services that are to run once; each fences whoever ran it before."""

    def __init__(self, *services: Callable[[], Awaitable[None]]) -> None:
        """Keep them; each runs until it is cancelled."""
        self._services = services

    async def run(self) -> None:
        """Run all of them until cancelled."""
        await asyncio.gather(*(service() for service in self._services))


def at_lane_zero(
    settings: Settings,
    ground: Ground,
    *,
    providers: Mapping[str, Provider],
    prompts: Mapping[str, str],
    prices: PriceBook,
    fail_points: FailPoints,
    lease_holds: Callable[[], bool],
    vault: Vault,
) -> LaneZero:
    """Give what it does: deliveries and, where a provider has them, batches."""
    pacer = DeliveryPacer(
        settings,
        clock=ground.clock,
        dice=ground.dice,
        worker=ground.worker,
        log=ground.log,
        lease_holds=lease_holds,
    )
    if all(provider.batching is None for provider in providers.values()):
        return LaneZero(pacer.run)
    around = Surroundings(
        settings=settings,
        providers=providers,
        prompts=prompts,
        clock=ground.clock,
        dice=ground.dice,
        log=ground.log,
        lease_holds=lease_holds,
        fail_points=fail_points,
        attempts=Attempts(
            kinds={name: provider.kind for name, provider in providers.items()},
            prices=prices,
            ground=ground,
        ),
        protection=protection_of(settings),
        vault=vault,
    )
    return LaneZero(pacer.run, Gatherer(around).run)
