"""`--pair` and `--unpair`: batteries that require a pairing code (docs/pairing.md)."""

from getpass import getpass
import os

from ..bluetooth.pairing import find_bonds, pair, unpair
from ..errors import PairingError, PairingGoneError, PairingRequiredError
from .advice import failure_text
from .arguments import CODE_VARIABLE, ExitCode, Options
from .polling import Poller
from .run import progress
from .terminal import print_error


def ask_code() -> str:
    """Return the code from the environment, or ask for it without echoing it."""
    return os.environ.get(CODE_VARIABLE) or getpass("Pairing code (six digits): ")


async def pair_battery(options: Options, code: str) -> ExitCode:
    """Pair with the battery if it refuses to be read; its values are not shown."""
    poller = Poller.from_options(options)
    with progress(poller):
        await poller.read_once()
    (battery,) = poller.monitor.batteries
    if not isinstance(battery.error, PairingRequiredError):
        # Read without pairing, or failed for a reason that pairing does not change
        return ExitCode.GOOD
    assert battery.seen
    try:
        await pair(battery.seen.device.details["path"], code)
    except PairingError as err:
        print_error(f"{battery.name}: {failure_text(err)}")
        return ExitCode.FAILED
    return ExitCode.GOOD


async def unpair_batteries(options: Options) -> ExitCode:
    """Remove the bonds with the batteries at these addresses."""
    code = ExitCode.GOOD
    for address in options.targets:
        try:
            if not (bonds := await find_bonds(address.upper())):
                raise PairingGoneError("It is not paired with this machine")
            for bond in bonds:
                await unpair(bond.path)
        except PairingError as err:
            print_error(f"{address}: {err}")
            code = ExitCode.FAILED
    return code
