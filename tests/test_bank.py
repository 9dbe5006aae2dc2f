"""The arithmetic of a bank: whatever its packs report, and whichever of them are away."""

from dataclasses import replace
from math import inf, nan
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.jk_bms.jkbms.bank import (
    Bank,
    EnergyCounter,
    Pack,
    PackValue,
    Wiring,
    combine,
)
from custom_components.jk_bms.jkbms.estimates import chemistry, energy_remaining
from custom_components.jk_bms.jkbms.models import BatteryType, CellData, Settings

many = settings(derandomize=True, deadline=None, database=None)

WIRINGS = st.sampled_from(Wiring)


def decimals(low: int, high: int) -> st.SearchStrategy[float]:
    """Draw a value with three decimals, as devices report them."""
    return st.integers(low * 1000, high * 1000).map(lambda value: value / 1000)


@st.composite
def cell_data(draw: st.DrawFn, *, whole: bool = False) -> CellData:
    """Draw what a pack reports; unless `whole`, any value may be missing."""

    def maybe(values: st.SearchStrategy[Any]) -> Any:
        return draw(values if whole else st.none() | values)

    cells = draw(st.lists(decimals(2, 4), min_size=1, max_size=4))
    low, high = min(cells), max(cells)
    return CellData(
        cell_voltage=tuple(cells),
        min_cell_voltage=low,
        max_cell_voltage=high,
        min_cell=cells.index(low) + 1,
        max_cell=cells.index(high) + 1,
        delta_cell_voltage=round(high - low, 3),
        battery_voltage=maybe(decimals(10, 60)),
        battery_current=maybe(decimals(-200, 200)),
        battery_power=maybe(decimals(-9999, 9999)),
        battery_temperature=tuple(
            draw(st.lists(st.none() | decimals(-20, 60), max_size=3))
        ),
        remain_percent=maybe(st.integers(0, 100)),
        remain_capacity=maybe(decimals(0, 300)),
        nominal_capacity=maybe(decimals(1, 300)),
        charging=maybe(st.booleans()),
        discharging=maybe(st.booleans()),
        alarms=maybe(
            st.lists(
                st.sampled_from(["cell_count", "charge_mosfet", "default_password"]),
                unique=True,
            ).map(tuple)
        ),
        battery_type=maybe(st.sampled_from(BatteryType)),
    )


@st.composite
def packs(draw: st.DrawFn, *, whole: bool = False, min_size: int = 1) -> list[Pack]:
    """Draw packs; unless `whole`, any of them may be away."""
    readings = draw(st.lists(cell_data(whole=whole), min_size=min_size, max_size=5))
    return [
        Pack(
            name=f"Pack {number}",
            cell_data=cells,
            age=draw(decimals(0, 600)),
            is_fresh=whole or draw(st.booleans()),
        )
        for number, cells in enumerate(readings)
    ]


def pack(
    name: str = "A", *, age: float = 1.0, fresh: bool = True, **values: Any
) -> Pack:
    """Return a pack with some values."""
    return Pack(name=name, cell_data=CellData(**values), age=age, is_fresh=fresh)


@many
@given(packs(), WIRINGS, st.randoms(use_true_random=False), decimals(0, 600))
def test_order_of_packs_is_irrelevant(
    packs: list[Pack], wiring: Wiring, random: Any, missing: float
) -> None:
    """Every value is the same, to the last digit."""
    expected = combine(packs, wiring, count_missing_for=missing)
    random.shuffle(packs)
    assert combine(packs, wiring, count_missing_for=missing) == expected


@many
@given(cell_data(), WIRINGS)
def test_bank_of_one_equals_the_pack(cells: CellData, wiring: Wiring) -> None:
    """Nothing is added, lost or rounded away."""
    bank = combine([Pack(name="A", cell_data=cells, age=2, is_fresh=True)], wiring)
    assert bank.voltage == cells.battery_voltage
    assert bank.current == cells.battery_current
    assert bank.power == cells.battery_power
    assert bank.state_of_charge == cells.remain_percent
    assert bank.remaining_capacity == cells.remain_capacity
    assert bank.full_capacity == cells.nominal_capacity
    assert bank.remaining_energy == energy_remaining(cells, None)
    assert bank.lowest_cell and bank.highest_cell
    assert bank.lowest_cell.value == cells.min_cell_voltage
    assert bank.lowest_cell.cell == cells.min_cell
    assert bank.highest_cell.value == cells.max_cell_voltage
    assert bank.highest_cell.cell == cells.max_cell
    assert bank.cell_difference == cells.delta_cell_voltage
    assert (bank.charging, bank.discharging) == (cells.charging, cells.discharging)
    assert bank.faults == tuple(("A", alarm) for alarm in cells.faults or ())
    assert bank.problem == (None if cells.faults is None else bool(cells.faults))
    assert bank.sharing_deviation in {None, 0}
    assert bank.oldest == 2


@many
@given(packs(whole=True))
def test_sum_of_shares_is_one(packs: list[Pack]) -> None:
    """Both for capacity and for current, even if packs charge each other."""
    shares = combine(packs, Wiring.PARALLEL).shares
    if shares:
        assert sum(share.current for share in shares) == pytest.approx(1, abs=1e-6)
        assert sum(share.capacity for share in shares) == pytest.approx(1)


SUMS = {
    Wiring.PARALLEL: ("current", "power", "remaining_capacity", "full_capacity"),
    Wiring.SERIES: ("voltage", "power"),
}


@many
@given(packs(whole=True, min_size=2), WIRINGS, st.data())
def test_sum_of_a_part_is_never_the_whole(
    packs: list[Pack], wiring: Wiring, data: st.DataObject
) -> None:
    """If one pack is away or lacks a value, no sum exists, nor what depends on all."""
    index = data.draw(st.integers(0, len(packs) - 1))
    away = list(packs)
    away[index] = replace(packs[index], is_fresh=False)
    bank = combine(away, wiring)
    for name in (*SUMS[wiring], "current", "remaining_energy", "voltage_spread"):
        assert getattr(bank, name) is None
    assert bank.shares == ()
    assert bank.is_incomplete and not bank.is_complete
    if wiring is Wiring.SERIES:
        assert bank.voltage is None and bank.state_of_charge is None
    poor = list(packs)
    poor[index] = replace(packs[index], cell_data=CellData())
    bank = combine(poor, wiring)
    for name in (*SUMS[wiring], "voltage", "state_of_charge", "remaining_energy"):
        assert getattr(bank, name) is None
    assert bank.shares == ()


@many
@given(packs(), WIRINGS)
def test_bank_without_a_pack_online_has_no_values(
    packs: list[Pack], wiring: Wiring
) -> None:
    """Packs that are away or were never read are not guessed."""
    away = [replace(pack, is_fresh=False) for pack in packs]
    unread = [Pack(name=pack.name) for pack in packs]
    expected = combine(unread, wiring)
    assert combine(away, wiring) == expected
    assert (expected.online, expected.problem, expected.voltage) == ((), None, None)


def two(**second: Any) -> list[Pack]:
    """Return two packs of different sizes."""
    return [
        pack(
            "A",
            battery_voltage=52.1,
            battery_current=30.1,
            battery_power=1568.21,
            remain_percent=80,
            remain_capacity=224.0,
            nominal_capacity=280.0,
            cell_voltage=(3.25, 3.26),
            min_cell_voltage=3.25,
            max_cell_voltage=3.26,
            min_cell=1,
            max_cell=2,
            battery_temperature=(21.5, None, 24.0),
            charging=True,
            discharging=True,
            alarms=(),
            battery_type=BatteryType.LFP,
        ),
        pack(
            "B",
            **{
                "battery_voltage": 52.3,
                "battery_current": 5.2,
                "battery_power": 271.96,
                "remain_percent": 50,
                "remain_capacity": 50.0,
                "nominal_capacity": 100.0,
                "cell_voltage": (3.24, 3.28),
                "min_cell_voltage": 3.24,
                "max_cell_voltage": 3.28,
                "min_cell": 1,
                "max_cell": 2,
                "battery_temperature": (19.0,),
                "charging": False,
                "discharging": True,
                "alarms": ("cell_count", "default_password"),
                "battery_type": BatteryType.LFP,
            }
            | second,
        ),
    ]


def test_two_packs_in_parallel() -> None:
    """Each value is what an owner works out by hand."""
    bank = combine(two(), Wiring.PARALLEL)
    assert (bank.voltage, bank.current, bank.power) == (52.2, 35.3, 1840.17)
    assert bank.state_of_charge == 72.1
    assert (bank.remaining_capacity, bank.full_capacity) == (274.0, 380.0)
    assert bank.remaining_energy == 1.754
    assert bank.lowest_cell == PackValue(value=3.24, pack="B", cell=1)
    assert bank.highest_cell == PackValue(value=3.28, pack="B", cell=2)
    assert bank.cell_difference == 0.04
    assert bank.lowest_temperature == PackValue(value=19.0, pack="B")
    assert bank.highest_temperature == PackValue(value=24.0, pack="A")
    assert (bank.charging, bank.charging_packs) == (True, ("A",))
    assert (bank.discharging, bank.discharging_packs) == (True, ("A", "B"))
    assert (bank.problem, bank.faults) == (True, (("B", "cell_count"),))
    assert bank.voltage_spread == 0.2
    # B has 26.3 % of the capacity and carries 14.7 % of the current.
    assert bank.sharing_deviation == 44.0
    assert bank.time_to_full(35.3) == pytest.approx(106 / 35.3 * 3600, abs=30)
    assert bank.time_to_empty(35.3) is None
    assert bank.time_to_empty(None) is None


def test_two_packs_in_series() -> None:
    """The same current flows through both, and the weaker one ends it."""
    bank = combine(two(battery_current=30.3), Wiring.SERIES)
    assert (bank.voltage, bank.current, bank.power) == (104.4, 30.2, 1840.17)
    assert bank.state_of_charge == 50
    assert (bank.remaining_capacity, bank.full_capacity) == (50.0, 100.0)
    assert bank.shares == ()


def away(**pack_facts: Any) -> list[Pack]:
    """Return the two packs, of which the second is away."""
    first, second = two()
    return [first, replace(second, is_fresh=False, age=90.0, **pack_facts)]


def test_silent_pack_in_parallel_leaves_what_the_other_knows() -> None:
    """State of charge, voltage, cells and temperatures are those of the fresh packs."""
    bank = combine(away(), Wiring.PARALLEL)
    assert (bank.voltage, bank.state_of_charge, bank.current) == (52.1, 80, None)
    assert bank.lowest_cell == PackValue(value=3.25, pack="A", cell=1)
    assert (bank.online, bank.pack_count, bank.oldest) == (("A",), 2, 1.0)
    assert bank.time_to_full(10.0) is None
    # The one that is away could have a fault; its MOSFETs could be on.
    assert bank.problem is None
    assert bank.charging is True


def test_silent_pack_in_series_leaves_cells_and_temperatures() -> None:
    """The rest is unknown."""
    bank = combine(away(), Wiring.SERIES)
    assert (bank.voltage, bank.state_of_charge, bank.current) == (None, None, None)
    assert bank.is_incomplete
    assert bank.highest_temperature == PackValue(value=24.0, pack="A")


@pytest.mark.parametrize("wiring", Wiring)
def test_missing_pack_counts_with_its_last_values_for_a_while(wiring: Wiring) -> None:
    """An option sets for how long; after that the totals are unknown."""
    bank = combine(away(), wiring, count_missing_for=91)
    complete = combine(two(), wiring)
    assert (bank.current, bank.power) == (complete.current, complete.power)
    assert (bank.oldest, bank.is_complete, bank.is_incomplete) == (90.0, True, True)
    assert combine(away(), wiring, count_missing_for=90).current is None


def test_sharing_is_not_compared_at_rest() -> None:
    """Two small currents differ by chance."""
    small = [
        replace(each, cell_data=replace(each.cell_data, battery_current=0.2))
        for each in two()
        if each.cell_data
    ]
    assert combine(small, Wiring.PARALLEL).sharing_deviation is None


def test_bank_without_cells_has_no_difference() -> None:
    """There are no voltages to compare."""
    bank: Bank = combine([pack()], Wiring.PARALLEL)
    assert (bank.cell_difference, bank.lowest_cell, bank.voltage) == (None, None, None)


COUNTERS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.one_of(
            st.floats(0, 1e5), st.just(nan), st.just(inf), st.sampled_from(["gone"])
        ),
    ),
    max_size=40,
)


@many
@given(COUNTERS)
def test_energy_never_goes_down(events: list[tuple[str, Any]]) -> None:
    """Packs come, go, are replaced and restart their counters; restarts intervene."""
    counter = EnergyCounter(3.0)
    for name, event in events:
        before = counter.total
        if event == "gone":
            counter.keep({"A", "B", "C"} - {name})
        else:
            counter.feed(name, event)
        assert before <= counter.total < inf
        counter = EnergyCounter(counter.total, counter.seen)


@many
@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.floats(0, 10)), min_size=1, max_size=30
    )
)
def test_energy_grows_with_its_members(steps: list[tuple[str, float]]) -> None:
    """What the packs counted as members is what the bank counted."""
    counters = {"A": 500.0, "B": 20.0}
    bank = EnergyCounter()
    for name, total in counters.items():
        bank.feed(name, total)
    for name, step in steps:
        counters[name] += step
        bank.feed(name, counters[name])
    assert bank.total == pytest.approx(sum(step for _, step in steps), abs=1e-6)


def test_history_of_a_pack_is_no_jump() -> None:
    """A pack that is added, or comes back, has an old total that is not counted."""
    bank = EnergyCounter(10.0)
    bank.feed("A", 5000.0)
    assert bank.total == 10
    bank.feed("A", 5001.0)
    bank.keep(())
    bank.feed("A", 6000.0)
    bank.feed("A", 6000.5)
    assert bank.total == 11.5
    bank.feed("A", 1.0)
    bank.feed("A", 2.0)
    assert bank.total == 12.5


@pytest.mark.parametrize(
    ("values", "energy"),
    [
        ({"battery_type": BatteryType.LFP}, 14.336),
        ({"battery_type": BatteryType.LTO}, 10.304),
        ({"battery_type": BatteryType.UNKNOWN}, None),
        ({"battery_type": None}, None),
        ({"battery_type": BatteryType.LFP, "remain_capacity": None}, None),
        ({"battery_type": BatteryType.LFP, "cell_voltage": ()}, None),
        ({"battery_type": BatteryType.LFP, "cell_voltage": (3.2, None, 3.2)}, 1.792),
        (
            {
                "battery_type": BatteryType.LFP,
                "cell_voltage": (3.2, None),
                "implausible": ("cell_voltage_2",),
            },
            1.792,
        ),
    ],
)
def test_energy_remaining_is_estimated_by_chemistry(
    values: dict[str, Any], energy: float | None
) -> None:
    """Charge, connected cells and their mean voltage; `None` without one of them."""
    cells: dict[str, Any] = {"cell_voltage": (3.3,) * 16, "remain_capacity": 280.0}
    assert energy_remaining(CellData(**cells | values), None) == energy


@pytest.mark.parametrize(
    ("reported", "ovp", "expected"),
    [
        (None, 2.8, BatteryType.LTO),
        (None, 3.45, BatteryType.LFP),
        (None, 3.75, BatteryType.LFP),
        (None, 4.0, None),
        (None, 4.2, BatteryType.LI_ION),
        (None, 0.0, None),
        (None, None, None),
        (BatteryType.LI_ION, 3.65, BatteryType.LI_ION),
        (BatteryType.UNKNOWN, 3.65, BatteryType.UNKNOWN),
    ],
)
def test_chemistry_follows_from_the_protection(
    reported: BatteryType | None, ovp: float | None, expected: BatteryType | None
) -> None:
    """Where the battery does not report it; a type that has no name is not guessed."""
    cells = CellData(battery_type=reported)
    assert chemistry(cells, Settings(cell_ovp=ovp)) is expected
    assert chemistry(cells, None) is reported
