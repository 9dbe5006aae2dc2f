"""The command behind `scripts/demo`: its arguments and its exit code."""

import argparse
import signal
import socket
import sys
from types import FrameType

FAULT_NAMES = ("none", "alarm", "silent", "busy", "weak", "wire-off")


def main() -> int:
    """Return the exit code of the command."""
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until Home Assistant handles them.
        signal.signal(number, _leave)
    try:
        _try_address(options.host, options.port)
    except OSError as error:
        print(
            f"demo: cannot listen on {options.host}, port {options.port}"
            f" ({error.strerror}); --port takes another one",
            file=sys.stderr,
        )
        return 1
    print("demo: starting Home Assistant", flush=True)
    # Imported late because it takes a while.
    from .run import run  # noqa: PLC0415

    return run(options)


def parse() -> argparse.Namespace:
    """Parse the command line; exit with a message where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Run a real Home Assistant with this integration and batteries in"
        " software. Whoever reaches its address is logged in. Nothing is kept.",
    )
    add = parser.add_argument
    add("--host", default="localhost", help="address to listen on (%(default)s)")
    add("--port", default=8123, type=int, help="and its port (%(default)s)")
    add("--batteries", default=1, type=int, metavar="N", help="how many (%(default)s)")
    add("--cells", type=int, metavar="N", help="how many each has, instead of its own")
    add("--added", action="store_true", help="start with the batteries set up")
    add(
        "--yaml-resources",
        action="store_true",
        help="list the resources of dashboards in YAML",
    )
    add(
        "--bank",
        action="store_true",
        help="start with the batteries set up, all of one kind, and a bank of them",
    )
    add(
        "--fault",
        choices=FAULT_NAMES,
        default=FAULT_NAMES[0],
        help="what is wrong with the first battery; the entity input_select.demo_fault"
        " changes it while the demo runs",
    )
    add("--verbose", action="store_true", help="show the log of Home Assistant")
    options = parser.parse_args()
    if not 1 <= options.port <= 65535:
        parser.error("argument --port: it can be 1 to 65535")
    if not 1 <= options.batteries <= 99:
        parser.error("argument --batteries: it can be 1 to 99")
    if options.cells is not None and not 1 <= options.cells <= 32:
        parser.error("argument --cells: it can be 1 to 32")
    if options.bank and options.batteries == 1:
        parser.error("argument --bank: it needs at least 2 --batteries")
    return options


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _try_address(host: str, port: int) -> None:
    """Raise an OSError if the address is not available."""
    for family, kind, _, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        with socket.socket(family, kind) as test:
            # As a server does: sockets in TIME_WAIT do not count.
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test.bind(address)


if __name__ == "__main__":
    sys.exit(main())
