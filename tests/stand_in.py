"""The installed command over a radio in software: `python -m tests.stand_in SCENE …`, … as after `jkbms`."""

from dataclasses import replace
from pathlib import Path
import runpy
import sys
from typing import Final

from .virtual_bms import MODELS, Battery, Faults, Spec, VirtualBms, VirtualRadio

UPS: Final = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
HOME: Final = replace(MODELS["JK_PB2A16S20P 15.41"], name="HOME_BMS", dip_address=None)
BALANCER: Final = MODELS["JK-B5A24S 8.0.3M"]
SILENT: Final = Faults(silent=True)

SCENES: Final[dict[str, tuple[tuple[Spec, Faults], ...]]] = {
    "none": (),
    "one": ((UPS, Faults()),),
    "two": ((UPS, Faults()), (HOME, Faults())),
    "three": ((UPS, Faults()), (HOME, Faults()), (BALANCER, Faults())),
    "24 cells": ((BALANCER, Faults()),),
    "silent": ((UPS, SILENT), (HOME, Faults())),
}
SPEED: Final = 10
COMMAND: Final = Path(sys.executable).with_name("jkbms")
"""What `pip install .` made."""


if __name__ == "__main__":
    with VirtualRadio() as radio:
        for spec, faults in SCENES[sys.argv[1]]:
            still = Battery(spec, soc=0.6, time_scale=0.0)
            radio.place(VirtualBms(still, faults=faults, speed=SPEED))
        sys.argv = [str(COMMAND), *sys.argv[2:]]
        runpy.run_path(str(COMMAND), run_name="__main__")
