"""Advertisements of the battery: one row per style."""

from collections.abc import Callable
from dataclasses import dataclass

from bleak.backends.scanner import AdvertisementData
from bleak.uuids import normalize_uuid_16

from .spec import AdvertStyle, Spec

USUAL_UUIDS = (normalize_uuid_16(0xFFE0), normalize_uuid_16(0xFEE7))


@dataclass(frozen=True)
class Style:
    """Company id, payload made from the address (6 bytes), service UUIDs."""

    company: int
    payload: Callable[[bytes], bytes]
    uuids: tuple[str, ...] = USUAL_UUIDS


def _usual(mac: bytes) -> bytes:
    return b"\x88\xa0" + mac


STYLES: dict[AdvertStyle, Style] = {
    "common": Style(0x0B65, _usual),
    "jk_id": Style(0x4B4A, lambda mac: b"\x00\x01"),
    "fad6": Style(0xFAD6, _usual),
    "hex_text": Style(0x0B65, lambda mac: _usual(mac).hex().encode()),
    # Some scanners read the two 16-bit UUIDs as one of 32 bits; one form even has a group too many.
    "joined_uuid": Style(0x0B65, _usual, ("0000fee7ffe0-0000-1000-8000-00805f9b34fb",)),
    "joined_uuid_short": Style(
        0x0B65, _usual, ("fee7ffe0-0000-1000-8000-00805f9b34fb",)
    ),
    # A battery from another manufacturer with the same radio module.
    "foreign": Style(22618, lambda mac: mac),
    # An unrelated device.
    "unrelated": Style(0x0075, lambda mac: mac, (normalize_uuid_16(0x180A),)),
}


def advertisement(spec: Spec, rssi: int) -> AdvertisementData:
    """What a scanner receives; equal for equal arguments, on purpose."""
    style = STYLES[spec.advert]
    mac = bytes.fromhex(spec.address.replace(":", ""))
    return AdvertisementData(
        local_name=spec.advertised_name,
        manufacturer_data={style.company: style.payload(mac)},
        service_data={},
        service_uuids=list(style.uuids),
        tx_power=None,
        rssi=rssi,
        platform_data=(),
    )
