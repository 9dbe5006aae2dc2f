"""Calculates the values of several packs that are wired to one battery.

A value is `None` if a pack that it needs is missing: a partial sum is never presented as
the whole. The order of the packs is irrelevant, and a bank of one pack equals the pack.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum, inf, isfinite
from operator import mul
from typing import Final

from .estimates import energy_remaining, time_to_empty, time_to_full
from .models import CellData, Settings

# The minimum current, as a fraction of the full capacity per hour, at which sharing is
# compared. Below it, the steps of the current sensors are larger than the differences.
MIN_SHARED_RATE: Final = 0.02

_DECIMALS: Final = 3
"""Decimals to which sums and means are rounded, as many as the devices report."""
_SOC_DECIMALS: Final = 1


class Wiring(StrEnum):
    """How the packs are connected."""

    PARALLEL = "parallel"
    SERIES = "series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One pack at one moment."""

    name: str
    cell_data: CellData | None = None
    """The latest values; `None` if it was never read."""
    settings: Settings | None = None
    """Used to infer the chemistry of a pack that does not report it."""
    age: float | None = None
    """Age of the values in seconds."""
    is_fresh: bool = False
    """Whether the values are still valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackValue:
    """A value and the pack that it comes from."""

    value: float
    pack: str
    cell: int | None = None
    """For a cell voltage, the 1-based number of the cell in the pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share that one pack has in the bank; the shares of all packs add up to 1."""

    pack: str
    current: float
    """Share of the current; negative for a pack whose current flows the other way."""
    capacity: float
    """Share of the full capacity."""

    @property
    def deviation(self) -> float:
        """How much more (+) or less (-) current it carries than its share of capacity, in %."""
        return (self.current / self.capacity - 1) * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """The values of a bank at one moment, in the units of `CellData`."""

    wiring: Wiring
    pack_count: int
    online: tuple[str, ...]
    """Names of the packs whose values are valid, sorted."""
    is_complete: bool
    """Whether every pack is counted in the sums."""
    oldest: float | None
    """Age in seconds of the oldest value that is counted."""
    voltage: float | None
    """Volts; in parallel the mean, in series the sum."""
    current: float | None
    """Amperes; in parallel the sum, in series the mean."""
    power: float | None
    state_of_charge: float | None
    """Percent; in parallel weighted by capacity, in series the lowest."""
    remaining_capacity: float | None
    """Ampere hours; in parallel the sum, in series the lowest."""
    full_capacity: float | None
    """Ampere hours as the packs learned it; in parallel the sum, in series the lowest."""
    remaining_energy: float | None
    """Estimated kilowatt hours."""
    lowest_cell: PackValue | None
    highest_cell: PackValue | None
    lowest_temperature: PackValue | None
    highest_temperature: PackValue | None
    charging: bool | None
    """Whether any charge MOSFET is on."""
    charging_packs: tuple[str, ...]
    discharging: bool | None
    discharging_packs: tuple[str, ...]
    problem: bool | None
    """Whether any pack has a fault or an impossible value."""
    faults: tuple[tuple[str, str], ...]
    """Pairs of pack and alarm."""
    implausible: tuple[tuple[str, str], ...]
    """Pairs of pack and name of a value that is left out, as in `CellData.implausible`."""
    shares: tuple[Share, ...]
    """Sorted by pack; empty in series, at rest, or unless every pack is online."""
    voltage_spread: float | None
    """Volts between the highest and the lowest pack; `None` unless every pack is online."""

    @property
    def is_incomplete(self) -> bool:
        """Whether cells and temperatures come from only some of the packs."""
        return len(self.online) < self.pack_count

    @property
    def cell_difference(self) -> float | None:
        """Volts between the highest and the lowest cell of all packs."""
        if not self.lowest_cell or not self.highest_cell:
            return None
        return round(self.highest_cell.value - self.lowest_cell.value, _DECIMALS)

    @property
    def sharing_deviation(self) -> float | None:
        """Percent by which the worst pack carries too much or too little; 0 is fair."""
        if not self.shares:
            return None
        return round(max(abs(share.deviation) for share in self.shares), 1)

    @property
    def cell_data(self) -> CellData:
        """The values that a single battery has too, for output and metrics."""
        low, high, percent = self.lowest_cell, self.highest_cell, self.state_of_charge
        return CellData(
            battery_voltage=self.voltage,
            battery_current=self.current,
            battery_power=self.power,
            remain_percent=None if percent is None else round(percent),
            remain_capacity=self.remaining_capacity,
            nominal_capacity=self.full_capacity,
            delta_cell_voltage=self.cell_difference,
            min_cell_voltage=low.value if low else None,
            max_cell_voltage=high.value if high else None,
            charging=self.charging,
            discharging=self.discharging,
        )

    def time_to_empty(self, current: float | None) -> int | None:
        """Return the seconds until empty at a smoothed current in A."""
        return time_to_empty(self.remaining_capacity, self.full_capacity, current)

    def time_to_full(self, current: float | None) -> int | None:
        """Return the seconds until full at a smoothed current in A."""
        return time_to_full(self.remaining_capacity, self.full_capacity, current)


def combine(
    packs: Iterable[Pack], wiring: Wiring, *, count_missing_for: float = 0.0
) -> Bank:
    """Return the values of the bank.

    A pack whose values are no longer valid is counted in the sums with its last values
    until these are `count_missing_for` seconds old.
    """
    packs = sorted(packs, key=lambda pack: pack.name)
    online = [pack for pack in packs if pack.is_fresh and pack.cell_data]
    counted = [
        pack
        for pack in packs
        if pack.cell_data
        and (pack.is_fresh or (pack.age is not None and pack.age < count_missing_for))
    ]
    is_complete = len(counted) == len(packs)
    is_parallel = wiring is Wiring.PARALLEL
    # A series bank has no totals while a pack is missing.
    known = online if is_parallel else counted if is_complete else []
    whole = counted if is_complete else []
    nominal = _every(whole, "nominal_capacity")
    charging = _which(packs, online, lambda cells: cells.charging)
    discharging = _which(packs, online, lambda cells: cells.discharging)
    problem = _which(packs, online, _problem)
    voltages = _every(known, "battery_voltage")
    currents = _every(whole, "battery_current")
    remaining = _every(whole, "remain_capacity")
    temperatures = _temperatures(online)
    return Bank(
        wiring=wiring,
        pack_count=len(packs),
        online=tuple(pack.name for pack in online),
        is_complete=is_complete,
        oldest=max(
            (pack.age for pack in counted if pack.age is not None), default=None
        ),
        voltage=(_mean if is_parallel else _sum)(voltages),
        current=(_sum if is_parallel else _mean)(currents),
        power=_sum(_every(whole, "battery_power")),
        state_of_charge=_state_of_charge(known, is_parallel=is_parallel),
        remaining_capacity=_sum(remaining) if is_parallel else _least(remaining),
        full_capacity=_sum(nominal) if is_parallel else _least(nominal),
        remaining_energy=_sum(_energies(whole)),
        lowest_cell=_found(min, _cells(online, "min_cell_voltage", "min_cell")),
        highest_cell=_found(max, _cells(online, "max_cell_voltage", "max_cell")),
        lowest_temperature=_found(min, temperatures),
        highest_temperature=_found(max, temperatures),
        charging=charging[0],
        charging_packs=charging[1],
        discharging=discharging[0],
        discharging_packs=discharging[1],
        problem=problem[0],
        faults=tuple(
            (pack.name, alarm)
            for pack in online
            for alarm in (pack.cell_data and pack.cell_data.faults) or ()
        ),
        implausible=tuple(
            (pack.name, value)
            for pack in online
            for value in (pack.cell_data.implausible if pack.cell_data else ())
        ),
        shares=_shares(online) if is_parallel and len(online) == len(packs) else (),
        voltage_spread=_spread(
            _every(online, "battery_voltage") if len(online) == len(packs) else []
        ),
    )


def _every(packs: Iterable[Pack], name: str) -> list[float]:
    """Return a value of every pack; empty if one of them does not report it."""
    return _all([getattr(pack.cell_data, name) for pack in packs])


def _all(values: list[float | None]) -> list[float]:
    return [] if None in values else [each for each in values if each is not None]


def _energies(packs: Iterable[Pack]) -> list[float]:
    return _all(
        [
            energy_remaining(pack.cell_data, pack.settings) if pack.cell_data else None
            for pack in packs
        ]
    )


def _sum(values: Sequence[float]) -> float | None:
    # `fsum` is exact, so the order does not matter.
    return round(fsum(values), _DECIMALS) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return round(fsum(values) / len(values), _DECIMALS) if values else None


def _least(values: Sequence[float]) -> float | None:
    return min(values, default=None)


def _spread(values: Sequence[float]) -> float | None:
    return round(max(values) - min(values), _DECIMALS) if values else None


def _problem(cells: CellData) -> bool | None:
    if cells.implausible:
        return True
    return None if cells.faults is None else bool(cells.faults)


def _state_of_charge(packs: Sequence[Pack], *, is_parallel: bool) -> float | None:
    percents = _every(packs, "remain_percent")
    if not is_parallel or len(packs) == 1:
        return _least(percents)
    capacities = _every(packs, "nominal_capacity")
    total = fsum(capacities)
    if not percents or not total:
        return None
    weighted = fsum(map(mul, percents, capacities))
    return round(weighted / total, _SOC_DECIMALS)


def _which(
    packs: Sequence[Pack],
    online: Sequence[Pack],
    value: Callable[[CellData], bool | None],
) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether a flag is set in any pack, `None` if unknown, and in which packs."""
    values = [value(pack.cell_data) for pack in online if pack.cell_data]
    names = tuple(pack.name for pack, each in zip(online, values, strict=True) if each)
    if names:
        return True, names
    is_known = len(values) == len(packs) and packs and None not in values
    return (False if is_known else None), ()


type _Place = tuple[float, str, int | None]
"""A value, its pack and its cell; a plain tuple, since dozens of them are compared."""


def _cells(packs: Sequence[Pack], voltage: str, number: str) -> list[_Place]:
    cells = [
        (getattr(pack.cell_data, voltage), pack.name, getattr(pack.cell_data, number))
        for pack in packs
    ]
    return [cell for cell in cells if None not in cell]


def _temperatures(packs: Sequence[Pack]) -> list[_Place]:
    return [
        (value, pack.name, None)
        for pack in packs
        for value in (pack.cell_data.battery_temperature if pack.cell_data else ())
        if value is not None
    ]


def _found(
    extreme: Callable[[list[_Place]], _Place], places: list[_Place]
) -> PackValue | None:
    if not places:
        return None
    value, pack, cell = extreme(places)
    return PackValue(value=value, pack=pack, cell=cell)


def _shares(packs: Sequence[Pack]) -> tuple[Share, ...]:
    currents = _every(packs, "battery_current")
    capacities = _every(packs, "nominal_capacity")
    if not currents or not capacities or min(capacities) <= 0:
        return ()
    current, capacity = fsum(currents), fsum(capacities)
    if not current or abs(current) < MIN_SHARED_RATE * capacity:
        return ()
    return tuple(
        Share(pack=pack.name, current=its_current / current, capacity=its / capacity)
        for pack, its_current, its in zip(packs, currents, capacities, strict=True)
    )


class EnergyCounter:
    """Counts the energy of a bank, in kWh; the total never decreases.

    It grows with the counter of each pack while the pack is a member, so adding,
    removing or replacing a pack that has a history causes no jump.
    """

    def __init__(
        self, total: float = 0.0, seen: Mapping[str, float] | None = None
    ) -> None:
        """Continue a total; `seen` holds the last counters of the members by their id."""
        self.total = total
        self.seen = dict(seen or {})

    def keep(self, packs: Collection[str]) -> None:
        """Forget the packs that are no longer members."""
        self.seen = {pack: seen for pack, seen in self.seen.items() if pack in packs}

    def feed(self, pack: str, counter: float) -> None:
        """Add the growth of a member's counter since it was last seen.

        A counter that is new, has restarted or is not finite adds nothing.
        """
        if not isfinite(counter):
            return
        grown = counter - self.seen.get(pack, counter)
        self.seen[pack] = counter
        if 0 < grown < inf:
            self.total += grown
