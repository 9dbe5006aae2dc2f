"""The radio modules: their characteristics, and how they split the serial stream."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.uuids import normalize_uuid_16

type Properties = tuple[CharacteristicPropertyName, ...]
type Role = Literal["uart", "command", "none"]

CCCD = normalize_uuid_16(0x2902)
FFE0 = normalize_uuid_16(0xFFE0)
FFE1 = normalize_uuid_16(0xFFE1)
FFE2 = normalize_uuid_16(0xFFE2)
FFE3 = normalize_uuid_16(0xFFE3)
FIRMWARE_DOWNLOAD = "f000ffc0-0451-4000-b000-000000000000"

READ: Properties = ("read",)
NOTIFY: Properties = ("notify",)
READ_NOTIFY: Properties = ("read", "notify")
WRITE: Properties = ("write",)
COMMAND: Properties = ("write-without-response",)
WRITE_BOTH: Properties = ("write", "write-without-response")
WRITE_BOTH_NOTIFY: Properties = ("write", "write-without-response", "notify")
ALL_FOUR: Properties = ("read", "write-without-response", "write", "notify")


@dataclass(frozen=True)
class Characteristic:
    """One characteristic of a module."""

    handle: int
    uuid: str
    properties: Properties
    role: Role = "none"
    """uart = data comes out here (and goes in, if writable); command = goes in only."""
    cccd: int | None = None
    value: bytes = b""
    subscribe_error: int | None = None
    """ATT error that answers a subscription."""


@dataclass(frozen=True)
class Service:
    """One service of a module."""

    handle: int
    uuid: str
    characteristics: tuple[Characteristic, ...]


@dataclass(frozen=True)
class Variant:
    """A radio module."""

    services: tuple[Service, ...]
    mtu: int
    chunk: int
    """Bytes in a full notification."""
    burst: int
    """Bytes the BMS hands to the module at a time; a notification never spans two bursts."""
    stream: bool = False
    """Split by count alone: the rest of a frame waits until the next one fills the notification."""

    @property
    def characteristics(self) -> dict[int, Characteristic]:
        """All characteristics by handle."""
        return {c.handle: c for s in self.services for c in s.characteristics}

    @property
    def uart(self) -> Characteristic:
        """The characteristic whose notifications carry the serial stream."""
        return next(
            c
            for c in self.characteristics.values()
            if c.role == "uart" and "notify" in c.properties
        )


GENERIC_ACCESS = Service(
    0x01,
    normalize_uuid_16(0x1800),
    (Characteristic(0x03, normalize_uuid_16(0x2A00), READ, value=b"BLE module"),),
)
DEVICE_INFORMATION = Service(
    0x14,
    normalize_uuid_16(0x180A),
    (Characteristic(0x16, normalize_uuid_16(0x2A29), READ, value=b"Module maker"),),
)
BATTERY_SERVICE = Service(
    0x20,
    normalize_uuid_16(0x180F),
    # The battery level of the module's manufacturer, not ours: a client that uses it shows 99 % forever.
    (
        Characteristic(
            0x22, normalize_uuid_16(0x2A19), READ_NOTIFY, cccd=0x23, value=b"\x63"
        ),
    ),
)
DOWNLOAD = Service(
    0x30,
    FIRMWARE_DOWNLOAD,
    (
        Characteristic(
            0x32, "f000ffc1-0451-4000-b000-000000000000", WRITE_BOTH_NOTIFY, cccd=0x33
        ),
        Characteristic(
            0x36, "f000ffc2-0451-4000-b000-000000000000", WRITE_BOTH_NOTIFY, cccd=0x37
        ),
    ),
)


def _a(chunk: int, burst: int) -> Variant:
    """Module A; the firmware decides how the bytes arrive."""
    return Variant(
        services=(
            GENERIC_ACCESS,
            Service(
                0x0E,
                FFE0,
                (
                    Characteristic(0x10, FFE2, COMMAND, "command"),
                    Characteristic(0x12, FFE1, WRITE_BOTH_NOTIFY, "uart", cccd=0x13),
                ),
            ),
            DEVICE_INFORMATION,
            BATTERY_SERVICE,
            DOWNLOAD,
        ),
        mtu=131,
        chunk=chunk,
        burst=burst,
    )


VARIANTS: dict[str, Variant] = {
    # 128 + 22 + 128 + 22, the firmware writes the frame in two halves
    "A": _a(chunk=128, burst=150),
    # 128 + 128 + 44, and an acknowledgement fits in behind the frame
    "A_OLD": _a(chunk=128, burst=320),
    "B": Variant(
        services=(
            Service(
                0x01,
                FFE0,
                (
                    Characteristic(0x03, FFE1, WRITE_BOTH, "command"),
                    Characteristic(0x05, FFE1, READ_NOTIFY, "uart", cccd=0x06),
                ),
            ),
        ),
        mtu=247,
        chunk=244,
        burst=150,
    ),
    "C": Variant(
        services=(
            GENERIC_ACCESS,
            Service(
                0x08,
                FFE0,
                (
                    Characteristic(0x0A, FFE1, WRITE_BOTH_NOTIFY, "uart", cccd=0x0B),
                    Characteristic(0x0D, FFE2, NOTIFY, cccd=0x0E),
                ),
            ),
        ),
        mtu=23,
        chunk=20,
        burst=320,
    ),
    "D": Variant(
        services=(
            GENERIC_ACCESS,
            Service(
                0x0E,
                FFE0,
                (
                    Characteristic(0x10, FFE1, ALL_FOUR, "uart", cccd=0x11),
                    Characteristic(
                        0x13, FFE2, ("write", "notify"), cccd=0x14, subscribe_error=0x80
                    ),
                    Characteristic(0x17, FFE3, WRITE),
                ),
            ),
        ),
        mtu=115,
        chunk=80,
        burst=80,
        stream=True,
    ),
    "E": Variant(
        services=(
            GENERIC_ACCESS,
            Service(
                0x0D,
                FFE0,
                (
                    Characteristic(0x0F, FFE2, COMMAND, "command"),
                    Characteristic(0x11, FFE1, WRITE_BOTH_NOTIFY, "uart", cccd=0x12),
                ),
            ),
            DEVICE_INFORMATION,
        ),
        mtu=131,
        chunk=128,
        burst=150,
    ),
    "F": Variant(
        services=(
            GENERIC_ACCESS,
            Service(
                0x07,
                FFE0,
                (Characteristic(0x09, FFE1, WRITE_BOTH_NOTIFY, "uart", cccd=0x0A),),
            ),
        ),
        mtu=131,
        chunk=128,
        burst=150,
    ),
}


def chunks(variant: Variant, data: bytes) -> list[bytes]:
    """Split one transmission as the module does; meaningless for `stream` variants."""
    # An AT line in front makes the first burst longer, it does not move the border after it.
    head = len(data) % 150 if variant.burst == 150 and len(data) > 300 else 0
    borders = [0, *range(variant.burst + head, len(data), variant.burst), len(data)]
    bursts = [data[a:b] for a, b in pairwise(borders)]
    return [
        burst[i : i + variant.chunk]
        for burst in bursts
        for i in range(0, len(burst), variant.chunk)
    ]


def without(variant: Variant, uuid: str) -> tuple[Service, ...]:
    """The services of a module that hides a characteristic."""
    return tuple(
        Service(s.handle, s.uuid, tuple(c for c in s.characteristics if c.uuid != uuid))
        for s in variant.services
    )


def collection(
    services: tuple[Service, ...], mtu: int = 23
) -> BleakGATTServiceCollection:
    """What a bleak backend hands out after discovery."""
    result = BleakGATTServiceCollection()
    for service in services:
        bleak_service = BleakGATTService(service, service.handle, service.uuid)
        result.add_service(bleak_service)
        for char in service.characteristics:
            bleak_char = BleakGATTCharacteristic(
                char,
                char.handle,
                char.uuid,
                list(char.properties),
                lambda: mtu - 3,
                bleak_service,
            )
            result.add_characteristic(bleak_char)
            if char.cccd is not None:
                result.add_descriptor(
                    BleakGATTDescriptor(None, char.cccd, CCCD, bleak_char)
                )
    return result
