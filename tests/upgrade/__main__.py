"""`make upgrade`: the last version and this one beside each other, up and down again."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from tests.chaos.running import running_stack
from tests.chaos.watch import OutcomeWatch
from tests.upgrade.mixed import MixedStack, StuckError
from tests.upgrade.released import Released, ReleasedError, install, last_release
from tests.upgrade.report import Findings, look
from tests.upgrade.story import CONFIG, WORKERS, Story

#: Time limits as in production: nothing here is about them.
ENVIRONMENT = {
    "HYBRID_DEFER_DELAYS": "1,3,9",
    "HYBRID_SESSION_TIMEOUT": "20",
    "HYBRID_OPENAI_TIMEOUT": "30",
    "HYBRID_AZURE_TIMEOUT": "45",
}


def main() -> int:
    """Run it; gives the exit status."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="make upgrade")
    parser.add_argument("--base", default=None, help="a commit or tag; default: the last release")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--intents", type=int, default=400, help="at each of the five steps")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="hybrid-upgrade-") as folder:
        try:
            last = install(options.base or last_release(), Path(folder))
        except ReleasedError as error:
            sys.stderr.write(f"upgrade: {error}\n")
            return 2
        console.print(f"last version: {last.name}", highlight=False)
        config = Path(folder) / "hybrid.toml"
        config.write_text(CONFIG)
        try:
            findings = upgrade(last, config, options, console)
        except StuckError as stuck:
            sys.stderr.write(f"upgrade: {stuck}\n")
            return 1
    show(console, findings)
    return 1 if findings.problems() else 0


def upgrade(
    last: Released, config: Path, options: argparse.Namespace, console: Console
) -> Findings:
    """Play the story on a stack of its own; raises StuckError."""
    environment = {**ENVIRONMENT, "HYBRID_CONFIG": str(config)}
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {text}", highlight=False)

    make = partial(MixedStack, last=last)
    with running_stack(workers=len(WORKERS), environment=environment, make=make) as running:
        story = Story(
            running=running,
            stack=cast("MixedStack", running.stack),
            watch=OutcomeWatch(running.settings),
            say=say,
            seed=options.seed,
            intents=options.intents,
        )
        return asyncio.run(_played(story))


async def _played(story: Story) -> Findings:
    await story.tell()
    return await look(story)


def show(console: Console, findings: Findings) -> None:
    """Print the report."""
    steps = Table("step", "published", "ended by the last", "ended by this", "s")
    for row in findings.steps():
        steps.add_row(*row)
    console.print(steps)
    table = Table(title="upgrade and back", show_header=False)
    for line in findings.rows():
        table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
