"""The firmware families: frame contents besides measurements and settings."""

from dataclasses import dataclass, replace
from typing import Literal

type Layout = Literal["JK04", "JK02_24S", "JK02_32S"]


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """What a firmware family fills in, beyond the layout it uses."""

    layout: Layout
    sensor_mask: int = 0xFF
    """Claimed sensors; a set bit does not mean that the sensor exists."""
    correction: int = 1000
    second_correction: int = 0
    voltage_factor: float = 3.01
    unit_constant: int = 0
    """24S offset 202, 32S settings offset 278: constant per hardware, meaning unknown."""
    flags: bytes = bytes(5)
    """24S from offset 209, 32S from offset 239 on."""
    constant: int = 1
    """24S 184 / 32S 216, nearly always 1."""
    mosfet_copy: bool = True
    """32S 254 repeats the MOSFET temperature."""
    extra_sensors: bool = False
    """32S 256 and 258 carry T4 and T5 (or -2000); otherwise zero."""
    clock: bool = True
    """32S 262 and 270 are filled."""
    phases: bool = False
    """Charge phase and chemistry are reported."""
    ranks: bool = False
    """Numbers of the warmest and coldest sensor are reported."""
    heater_noise: int = 0
    """mA reported at 236 although the heater is off."""
    odd_byte: int = 0
    """32S offset 286."""
    cell_masks: bytes = bytes(12)
    settings_masks: bytes = bytes(9)
    info_masks: bytes = bytes(32)
    """0x03 offsets 150..181: bit n is set where command or register n is supported."""
    info_tail: bytes = bytes(12)
    """0x03 offsets 287..298."""
    protocols: bool = False
    """0x03 from 184 on is filled."""
    heat_temperatures: bool = False
    """Settings 284 and 285 are the heater's; otherwise another pair stands there."""
    discharge_utp: bool = False
    cell_limit: int = 0
    """0x03 offset 21: the largest cell count, behind the model text."""
    full_detail_log: bool = False
    """Whether the ring of the detail log is full; otherwise it has half as many records."""

    def declares(self, command: int) -> bool:
        """Return whether the device information says that it takes a command."""
        return bool(self.info_masks[command // 8] >> command % 8 & 1)


FIRMWARES: dict[str, Firmware] = {
    "04": Firmware(layout="JK04"),
    "24": Firmware(
        layout="JK02_24S",
        sensor_mask=0x07,
        unit_constant=1250,
        flags=bytes.fromhex("0100050000"),
    ),
    "24 old": Firmware(
        layout="JK02_24S",
        sensor_mask=0x07,
        correction=1295,
        unit_constant=-153000,
        flags=bytes.fromhex("0100040000"),
    ),
    "11.17": Firmware(
        layout="JK02_32S",
        sensor_mask=0x07,
        correction=970,
        unit_constant=750000,
        flags=bytes.fromhex("0100010005"),
        mosfet_copy=False,
        clock=False,
        heater_noise=-7715,
        cell_masks=bytes.fromhex("feff7fdc1f01000000000000"),
        settings_masks=bytes.fromhex("7cf8ffff0f00000000"),
        info_masks=bytes.fromhex(
            "7cf8fff30f00000000000000900f00000000c0d8030000000001000000000000"
        ),
        info_tail=bytes.fromhex("fe2f00000000000000000000"),
    ),
    "11.28": Firmware(
        layout="JK02_32S",
        correction=1020,
        unit_constant=750000,
        flags=bytes.fromhex("0100010305"),
        clock=False,
        heater_noise=7080,
        cell_masks=bytes.fromhex("feff7fdc0f01000000000000"),
        settings_masks=bytes.fromhex("7cf8ffff1f0d000000"),
        info_masks=bytes.fromhex(
            "fcf9ffff9f2d000000000000900f00000000c0d8030000000001000000000000"
        ),
        info_tail=bytes.fromhex("fe0f00000000000000000000"),
    ),
    "11.48": Firmware(
        layout="JK02_32S",
        correction=993,
        unit_constant=500000,
        flags=bytes.fromhex("010001ba05"),
        odd_byte=1,
        cell_masks=bytes.fromhex("feff7fdd0f01008003000000"),
        settings_masks=bytes.fromhex("fefffffe1fe9010200"),
        info_masks=bytes.fromhex(
            "fef9ffffff2d000200000000901f00000000c0d8e73200000001000000000000"
        ),
        info_tail=bytes.fromhex("fe9f29860300000000000000"),
    ),
    "14": Firmware(
        layout="JK02_32S",
        correction=1250,
        second_correction=912,
        unit_constant=1500000,
        flags=bytes.fromhex("0101010006"),
        extra_sensors=True,
        cell_masks=bytes.fromhex("feff7fdd2f0101b007000000"),
        settings_masks=bytes.fromhex("feffffffbfe9010200"),
        info_masks=bytes.fromhex(
            "feffffffafe9010200000000901f00000000c0d8e7fe1f000001000000000000"
        ),
        info_tail=bytes.fromhex("fe9fe9fe0300000000000000"),
        protocols=True,
    ),
    "15": Firmware(
        layout="JK02_32S",
        correction=919,
        second_correction=919,
        unit_constant=1500000,
        flags=bytes.fromhex("0101010006"),
        extra_sensors=True,
        phases=True,
        ranks=True,
        cell_masks=bytes.fromhex("feff7fdc2f0101b0cf070000"),
        settings_masks=bytes.fromhex("feffffff9fe99d0300"),
        info_masks=bytes.fromhex(
            "ffffffff8fe99d0300000000901f00000000c0d8e7fe3f000001000000000000"
        ),
        info_tail=bytes.fromhex("fe9fe9ff0f00000000000000"),
        protocols=True,
        heat_temperatures=True,
    ),
    "19": Firmware(
        layout="JK02_32S",
        correction=10141,
        second_correction=10000,
        unit_constant=500000,
        flags=bytes.fromhex("000101000101"),
        extra_sensors=True,
        phases=True,
        ranks=True,
        cell_masks=bytes.fromhex("feff7fdc2f0101810b010000"),
        settings_masks=bytes.fromhex("feffffff9fa9ef0f00"),
        info_masks=bytes.fromhex(
            "ffffffff9fa98f0f00000000901f00000000c0d8e732ac000000000000000000"
        ),
        info_tail=bytes.fromhex("fe9f21860900000000000000"),
        protocols=True,
        heat_temperatures=True,
        discharge_utp=True,
        full_detail_log=True,
    ),
    "19.27": Firmware(
        layout="JK02_32S",
        correction=9099,
        unit_constant=500000,
        flags=bytes.fromhex("0101010006"),
        extra_sensors=True,
        phases=True,
        ranks=True,
        cell_masks=bytes.fromhex("feff7fdd2f0101b0cf070000"),
        settings_masks=bytes.fromhex("feffffffbfe9ed0f00"),
        info_masks=bytes.fromhex(
            "ffffffffafe98d0f00000000901f00000000c0d8f7feef000000000000000000"
        ),
        info_tail=bytes.fromhex("fe9febfe3900000000000002"),
        protocols=True,
        heat_temperatures=True,
        discharge_utp=True,
        cell_limit=0x10,
        full_detail_log=True,
    ),
}

# Like 19.27, and the state of charge can be set. No captured unit up to 20.20 declares that.
FIRMWARES["19.34"] = replace(
    FIRMWARES["19.27"],
    info_masks=bytes.fromhex(
        "ffffffffafe98d0f00000000905f00000000c0d8f7feef000000000000000000"
    ),
)
