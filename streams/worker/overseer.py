"""What operators order, as workers carry it out: work held or ended, providers not called.

Every worker follows `workflow.operations` from its beginning, and takes no work before it knows
what was ordered until then. Where nobody orders anything it costs a look at an empty dict.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from aiokafka import ConsumerRecord

from agents.capacity.turns import Capacity
from agents.clock import Clock
from agents.log import Log
from schemas.base import format_time
from schemas.operations import CancelRecord, HoldRecord, OperationRecord
from schemas.vocabulary import LogEvent
from streams.lanes.lane import Lane
from streams.messages.orders import CANCELS_FOR, Orders, ends_at
from streams.worker.dispatcher import Dispatcher

__all__ = ["Overseer"]

#: A pause that has ended by itself is found after so long, in seconds.
LOOK_S = 60.0


class Overseer:
    """Tells dispatcher and providers' capacity what is ordered; one for each worker."""

    def __init__(
        self, orders: Orders, *, dispatcher: Dispatcher, capacity: Capacity, clock: Clock, log: Log
    ) -> None:
        """Keep who is told; `orders` is the one that the dispatcher asks."""
        self._orders = orders
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._clock = clock
        self._log = log
        #: The lanes that run intents here.
        self.lanes: Callable[[], Iterable[Lane]] = tuple
        #: Offset and timestamp of the last record.
        self._heard = (-1, -1)

    def take(self, record: ConsumerRecord) -> None:
        """Take a record of the topic; raises ValidationError for what is none of ours.

        The topic is read from its beginning again after a loss of the connection: what was heard
        then is passed over, or a pause would end and begin anew.
        """
        place = (record.offset, record.timestamp)
        if all(now <= before for now, before in zip(place, self._heard, strict=True)):
            return
        self._heard = place
        match OperationRecord.model_validate_json(record.value or b"").root:
            case CancelRecord() as cancel if cancel.at + CANCELS_FOR > self._clock.now():
                self._orders.take(cancel)
                self._dispatcher.reconsider()
                for lane in self.lanes():
                    lane.jobs.call_off(self._orders)
                self._log(
                    LogEvent.CANCEL_ORDERED,
                    cancel_id=cancel.cancel_id,
                    intents=len(cancel.intent_ids) or None,
                    tenant=cancel.tenant,
                    type=cancel.type,
                    until=format_time(cancel.until),
                    why=cancel.why,
                    by=cancel.by,
                )
            case HoldRecord() as hold if not hold.held or ends_at(hold) > self._clock.now():
                with self._changing():
                    self._orders.take(hold)
                self._tell(hold, on=hold.held)
            case _:
                pass  # about dead letters, or over: none of a worker's business

    async def look_forever(self) -> None:
        """End pauses that nobody has ended in their time."""
        while True:
            await self._clock.sleep(LOOK_S)
            with self._changing():
                over = self._orders.forget(self._clock.now())
            for hold in over:
                self._tell(hold, on=False)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Tell whom it concerns where other work is held afterwards than before."""
        before = tuple(self._orders)
        yield
        if before != tuple(self._orders):
            self._capacity.pause(self._orders.providers)
            self._dispatcher.reconsider()

    def _tell(self, hold: HoldRecord, *, on: bool) -> None:
        event = LogEvent.WORK_PAUSED if on else LogEvent.WORK_RESUMED
        self._log(event, what=hold.what.value, name=hold.name, why=hold.why, by=hold.by)
