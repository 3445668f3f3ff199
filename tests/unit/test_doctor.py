"""What the doctor makes of what it meets."""

import asyncio

from aiokafka.errors import GroupCoordinatorNotAvailableError

from hybrid import doctor
from schemas.settings import Settings


def test_no_error_of_a_broker_ends_the_doctor() -> None:
    async def fails(_settings: Settings) -> doctor.Check:
        raise GroupCoordinatorNotAvailableError

    found = asyncio.run(doctor._guarded("recorder", fails, Settings()))
    assert (found.name, found.state) == ("recorder", "broken")
    assert "GroupCoordinatorNotAvailableError" in found.detail
