"""Memory and load time of the ledger: bytes an entry, seconds for the entries of one worker.

Usage: python bench/ledger.py [entries]
"""

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from schemas.events import LedgerRecord
from streams.ledger import Ledger


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    ledger = Ledger(sources=("workflow.intents",), window_ms=86_400_000)
    raw = [
        LedgerRecord.model_validate(
            {
                "outcome_id": f"0190a1b2-0000-7000-8000-{number:012d}",
                "status": "completed",
                "topic": "workflow.intents",
                "offset": number,
                "decided_at_ms": 1_700_000_000_000,
            }
        ).to_json()
        for number in range(1000)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    for number in range(count):
        ledger.put(f"order-{number:020d}", LedgerRecord.model_validate_json(raw[number % 1000]))
    seconds = time.monotonic() - begin
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(
        f"{count} ledger entries: {grown / count:.0f} bytes each, decoded and stored in {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
