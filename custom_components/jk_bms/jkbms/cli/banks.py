"""Banks, which combine several batteries into one more: `--bank NAME=A,B`."""

from collections.abc import Iterable, Iterator
from time import time

from ..bank import Bank, Pack, combine
from ..models import BatteryState
from .monitor import Battery, Monitor
from .option_types import BankOption


def banks(
    monitor: Monitor, options: Iterable[BankOption]
) -> Iterator[tuple[str, Bank]]:
    """Yield the name and current values of each bank that was tried at least once."""
    by_target = {battery.target: battery for battery in monitor.batteries}
    for option in options:
        # A battery may be requested both by its name and by its address
        packs = {
            battery.seen.address if battery.seen else name: (name, battery)
            for name in option.packs
            for battery in (by_target[name],)
        }
        if any(battery.reading or battery.error for _, battery in packs.values()):
            members = [_pack(name, battery) for name, battery in packs.values()]
            yield option.name, combine(members, option.wiring)


def bank_state(name: str, bank: Bank) -> BatteryState:
    """Return the values that a single battery has too; without any pack the bank is down."""
    return BatteryState(
        device=name,
        up=bool(bank.online),
        last_update=None if bank.oldest is None else time() - bank.oldest,
        cell_data=bank.cell_data,
    )


def _pack(name: str, battery: Battery) -> Pack:
    reading, read_at = battery.reading, battery.read_at
    return Pack(
        name=name,
        cell_data=reading.cell_data if reading else None,
        settings=reading.settings if reading else None,
        age=None if read_at is None else time() - read_at,
        is_fresh=battery.up,
    )
