"""Actions: read the logs of a battery, and decode a dump of its frames."""

from dataclasses import asdict
from typing import Final

import probatio

from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.recorder import DATA_INSTANCE

from .backfill import async_backfill
from .const import DOMAIN
from .coordinator import JkBmsCoordinator
from .diagnosis import translated_error
from .jkbms.bluetooth.logs import has_detail_log
from .jkbms.models import DetailLogRecord
from .jkbms.protocol.dump import NOTHING_FOUND, read_dump
from .jkbms.protocol.dump_contents import decode_all
from .jkbms.protocol.timestamps import Timestamped
from .service_target import async_get_target, async_require_control, target_schema
from .setting_services import async_setup_setting_services

GET_LOGBOOK: Final = "get_logbook"
GET_DETAIL_LOG: Final = "get_detail_log"
IMPORT_DETAIL_LOG: Final = "import_detail_log"
DECODE: Final = "decode"

ATTR_DUMP: Final = "dump"
_MAX_DUMP: Final = 1_000_000
"""Characters; enough for a thousand frames in most notations."""

SCHEMA = target_schema({})
DECODE_SCHEMA = probatio.Schema(
    {
        probatio.Required(ATTR_DUMP): probatio.All(
            cv.string, probatio.Length(max=_MAX_DUMP)
        )
    }
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    async_setup_setting_services(hass)
    only, optional = SupportsResponse.ONLY, SupportsResponse.OPTIONAL
    for name, action, schema, response in (
        (GET_LOGBOOK, _async_get_logbook, SCHEMA, only),
        (GET_DETAIL_LOG, _async_get_detail_log, SCHEMA, only),
        (IMPORT_DETAIL_LOG, _async_import_detail_log, SCHEMA, optional),
        (DECODE, _async_decode, DECODE_SCHEMA, only),
    ):
        hass.services.async_register(
            DOMAIN, name, action, schema=schema, supports_response=response
        )


async def _async_get_logbook(call: ServiceCall) -> ServiceResponse:
    """Return the entries of the logbook, oldest first."""
    coordinator = async_get_target(call).runtime_data
    log = await coordinator.async_use_now(coordinator.logs.async_read_logbook)
    return {
        "entries": [
            {
                "time": timestamped.isoformat,
                "event": timestamped.entry.event,
                "cell": timestamped.entry.cell,
                "code": timestamped.entry.code,
                "run_time": timestamped.entry.time,
            }
            for timestamped in log
        ]
    }


async def _async_get_detail_log(call: ServiceCall) -> ServiceResponse:
    """Return the records of the detail log, oldest first."""
    log = await _async_read_detail_log(async_get_target(call).runtime_data)
    return {
        "records": [
            {"time": timestamped.isoformat} | asdict(timestamped.entry)
            for timestamped in log
        ]
    }


async def _async_import_detail_log(call: ServiceCall) -> ServiceResponse:
    """Fill gaps in the statistics; return the number of imported hours by entity."""
    entry = async_get_target(call)
    await async_require_control(call, entry)
    if DATA_INSTANCE not in call.hass.data:
        raise translated_error(ServiceValidationError, "no_recorder")
    log = await _async_read_detail_log(entry.runtime_data)
    if not any(timestamped.time for timestamped in log):
        raise translated_error(HomeAssistantError, "no_clock")
    imported = await async_backfill(call.hass, entry, log)
    return {"imported_hours": {**imported}} if call.return_response else None


async def _async_read_detail_log(
    coordinator: JkBmsCoordinator,
) -> tuple[Timestamped[DetailLogRecord], ...]:
    if coordinator.last_update and has_detail_log(coordinator.data) is False:
        # The battery would not answer, which only shows after many seconds.
        raise translated_error(ServiceValidationError, "no_detail_log")
    return await coordinator.async_use_now(coordinator.logs.async_read_detail_log)


async def _async_decode(call: ServiceCall) -> ServiceResponse:
    """Return the values of the frames in a dump, passcodes and user data masked."""
    return await call.hass.async_add_executor_job(_decode, call.data[ATTR_DUMP])


def _decode(text: str) -> ServiceResponse:
    dump = read_dump(text)
    contents = decode_all(dump.frames)
    remarks = [
        *map(str, dump.remarks),
        *(f"{dump.places[number]}: {text}" for number, text in contents.rejected),
        *([str(contents.layout_error)] if contents.layout_error else ()),
    ]
    if not any(contents.sections.values()):
        reason = "; ".join(remarks) or NOTHING_FOUND
        raise translated_error(
            ServiceValidationError, "nothing_decoded", {"reason": reason}
        )
    sections = contents.newest().sections
    return {
        "layout": contents.layout,
        **{
            name: [
                [asdict(entry) for entry in model]
                if isinstance(model, list | tuple)
                else asdict(model)
                for model in models
            ]
            for name, models in sections.items()
        },
        "remarks": remarks,
    }
