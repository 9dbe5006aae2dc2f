"""The identity of a battery."""

from dataclasses import dataclass
from typing import Literal

from .firmware import FIRMWARES, Firmware, Layout

type Chemistry = Literal["LFP", "LION", "LTO"]
type AdvertStyle = Literal[
    "common",
    "jk_id",
    "fad6",
    "hex_text",
    "joined_uuid",
    "joined_uuid_short",
    "foreign",
    "unrelated",
]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit. Change a preset with `dataclasses.replace`."""

    name: str
    address: str
    model: str
    hardware: str
    software: str
    family: str
    """Key of `firmware.FIRMWARES`."""
    cells: int = 16
    chemistry: Chemistry = "LFP"
    capacity: float = 280.0
    """Real capacity in Ah, which the BMS has learned."""
    nominal_capacity: float | None = None
    """Configured capacity in Ah, if it differs."""
    gatt: str = "A"
    """Key of `gatt.VARIANTS`."""
    serial: str = ""
    passcode: str = "1234"
    short_passcode: str = ""
    setup_passcode: str = ""
    userdata: str = ""
    userdata2: str = ""
    manufactured: str = ""
    """YYMMDD"""
    power_on_count: int = 12
    run_time: int = 31_557_600
    """s of life before the simulation begins"""
    uptime: int = 864_000
    """s since power-on before the simulation begins"""
    cycles: int = 42
    soh: int = 100
    sensors: tuple[bool, bool, bool, bool] = (True, True, False, False)
    """T1, T2, T4, T5 connected."""
    mosfet_sensor: bool = True
    sensor_mask: int | None = None
    """Claimed sensors, if they differ from those of the family."""
    clock_set: bool = True
    """An app has set the clock."""
    heater: bool = False
    dry_contacts: bool = False
    balancer_only: bool = False
    """An active balancer that speaks the 32S layout: no current, no state of charge."""
    max_current: float = 100.0
    dip_address: int | None = None
    """PB units add it to the advertised name."""
    advert: AdvertStyle = "common"
    chatty: bool = False
    """Boards that send `AT` lines to their radio module all the time."""

    @property
    def firmware(self) -> Firmware:
        """The firmware family."""
        return FIRMWARES[self.family]

    @property
    def layout(self) -> Layout:
        """The layout of its cell frames."""
        return self.firmware.layout

    @property
    def major(self) -> int:
        """Number before the first dot of the software version."""
        return int(self.software.partition(".")[0])

    @property
    def advertised_name(self) -> str:
        """Local name in the advertisement."""
        if self.dip_address is None:
            return self.name
        return f"{self.name}-{self.dip_address:02d}"
