"""Simulated devices within the daemon, for buses that exist only there."""

from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from gateway.bus.link import Link
from gateway.daemon.parts import Gateway
from gateway.errors import ConfigError

SIMULATED: Final = "virtual"  # the interface whose devices live in this process


def simulation(gateway: Gateway, file: Path | None, opened: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
    """Return what simulates the devices of the virtual buses, each on an end of its bus of its own."""
    if file is None:
        return []
    # On a vehicle nothing is simulated, and memory is dear.
    from gateway.bus.simulator.journal import Journal  # noqa: PLC0415 - see above
    from gateway.bus.simulator.runner import Simulator  # noqa: PLC0415
    from gateway.bus.simulator.scenario import load_scenario  # noqa: PLC0415

    scenario = load_scenario(file, gateway.settings)
    sections = [section for section in gateway.settings.bus if section.interface == SIMULATED]
    if not sections:
        raise ConfigError([f"--simulate: no bus has interface = {SIMULATED!r}; use: simulate"])
    journal = opened.enter_context(Journal(gateway.clock, gateway.settings.gateway.state_dir / "journal.jsonl"))
    work = []
    for section in sections:
        link = Link(section.name, section, gateway.clock, gateway.rng)
        codecs = gateway.codecs(section.name)
        simulator = Simulator(scenario=scenario, wire=link, clock=gateway.clock, journal=journal, codecs=codecs)
        work += [link.run(), simulator.run()]
    return work
