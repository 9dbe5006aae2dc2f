"""The label under which the values of a battery are pushed; it never changes.

Otherwise a series would continue with the data of another battery when one of two with
the same name is removed or renamed.
"""

from typing import Final

from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback

from .bank_coordinator import AnyConfigEntry
from .const import DOMAIN
from .jkbms.models import DeviceInfo

CONF_LABEL: Final = "push_label"
"""Key in the data of an entry; set once its values are pushed."""

# Characters of the serial number or address that distinguish batteries of the same name.
_SHORT: Final = 4


@callback
def async_get_label(
    hass: HomeAssistant, entry: AnyConfigEntry, info: DeviceInfo | None
) -> str:
    """Return the label of a battery, which is chosen when it is first pushed.

    It is the battery's name, with the end of its serial number or address if that is
    taken: factory names are model names, so many batteries share theirs.
    """
    if label := entry.data.get(CONF_LABEL):
        return str(label)
    # A bank has no address.
    address = entry.data.get(CONF_ADDRESS, entry.entry_id).replace(":", "")
    numbers = (info.serial_number if info else None, address)
    taken = _taken(hass)
    labels = (
        entry.title,
        *(f"{entry.title} {number[-_SHORT:]}" for number in numbers if number),
        f"{entry.title} {address}",
    )
    return _async_store(hass, entry, next(each for each in labels if each not in taken))


@callback
def async_keep_numbered_label(hass: HomeAssistant, entry: AnyConfigEntry) -> None:
    """Store the label that an entry of version 1.1 had: its title, maybe numbered."""
    namesakes = [
        each.entry_id
        for each in hass.config_entries.async_entries(DOMAIN)
        if each.title == entry.title
    ]
    number = namesakes.index(entry.entry_id) + 1
    label = entry.title if number == 1 else f"{entry.title} {number}"
    if label not in _taken(hass):
        _async_store(hass, entry, label)


def _taken(hass: HomeAssistant) -> set[str]:
    entries = hass.config_entries.async_entries(DOMAIN)
    return {str(label) for entry in entries if (label := entry.data.get(CONF_LABEL))}


@callback
def _async_store(hass: HomeAssistant, entry: AnyConfigEntry, label: str) -> str:
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_LABEL: label}
    )
    return label
