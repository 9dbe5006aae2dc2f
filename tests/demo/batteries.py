"""The batteries of the demo, and the proxies in range of them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import batched
from typing import Final

from tests.virtual_bms import MODELS, Battery, Spec, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

HOUR: Final = 10.5
"""Hour at which the day of a battery begins: it is half full, and the sun shines."""

SLOTS: Final = 3

PASSCODE: Final = "246810"
"""The settings passcode of all batteries that have one; the options ask for it."""

# One of each layout first; then other boards, cell counts and chemistries.
KINDS: Final = (
    ("House", "JK_PB2A16S20P 15.41"),
    ("Camper", "JK-B2A24S15P 10.07"),
    ("Shed", "JK-B2A16S 3.3.0"),
    ("Boat", "JK_B2A8S20P 19.10"),
    ("Scooter", "JK_B2A25SRP 11.55"),
    ("Forklift", "JK-B5A24S 8.0.3M"),
    ("Garage", "JK_B2A8S20P 11.48"),
)


PACKS: Final = KINDS[:1]
"""Packs of a bank are of one kind."""


def make_batteries(
    count: int,
    kinds: Sequence[tuple[str, str]] = KINDS,
    cells: int | None = None,
) -> list[VirtualBms]:
    """Create `count` batteries with different names and addresses."""
    specs = [_spec(index, kinds) for index in range(count)]
    return [
        VirtualBms(Battery(replace(spec, cells=cells or spec.cells), hour=HOUR))
        for spec in specs
    ]


def _spec(index: int, kinds: Sequence[tuple[str, str]]) -> Spec:
    turn, kind = divmod(index, len(kinds))
    name, model = kinds[kind]
    spec = MODELS[model]
    return replace(
        spec,
        name=f"{name} {turn + 1}" if turn else name,
        address=f"C8:47:8C:20:00:{index + 1:02X}",
        # Not every unit advertises something recognisable, or its own name.
        advert="common",
        setup_passcode=PASSCODE if spec.setup_passcode else "",
        dip_address=None,
    )


def start_proxies(batteries: list[VirtualBms]) -> list[VirtualProxy]:
    """Start enough proxies to hold a link to each battery."""
    proxies = []
    for number, near in enumerate(batched(batteries, SLOTS), 1):
        proxy = VirtualProxy(f"02:00:00:00:00:{number:02X}", f"Proxy {number}", SLOTS)
        for place, bms in enumerate(near):
            proxy.place(bms, rssi=-52 - 9 * place)
        proxy.start()
        proxy.start_advertising()
        proxies.append(proxy)
    return proxies
