/** A Home Assistant with one battery, as far as pure functions need it. */
import type { Battery, Live } from "../src/batteries.ts";
import type { Hass, HassEntity } from "../src/hass.ts";

export const LIMITS = {
  undervoltage: 2.5,
  empty: 2.6,
  balance_start: 3.4,
  balance_trigger: 0.01,
  full: 3.45,
  overvoltage: 3.65,
};

export const LIVE: Live = {
  available: true,
  last_read: "2026-11-28T12:00:00+00:00",
  resumes_at: null,
  reason: null,
  faults: [],
  wire_resistance_cells: [],
  cell_resistance: [],
  time_to_full: null,
  time_to_empty: null,
  total_runtime: null,
};

export function makeBattery(states: Readonly<Record<string, string>>, title = "House"): Battery {
  return {
    entry_id: "entry",
    device_id: title.toLowerCase(),
    title,
    path: title.toLowerCase(),
    entities: Object.fromEntries(Object.keys(states).map((key) => [key, entityId(key)])),
    cell_count: 4,
    chemistry: "lfp",
    limits: LIMITS,
    holds_link: false,
    packs: [],
  };
}

/** The user renamed every entity. */
function entityId(key: string): string {
  const [domain, name] = key.split(".");
  return `${domain}.renamed_${name}`;
}

export function makeHass(
  states: Readonly<Record<string, string>>,
  units: Readonly<Record<string, string>> = {},
): Hass {
  const entities = Object.entries(states).map(([key, state]): HassEntity => ({
    entity_id: entityId(key),
    state,
    attributes: { unit_of_measurement: units[key] ?? "V" },
    last_updated: "2026-11-28T12:00:00+00:00",
  }));
  return {
    states: Object.fromEntries(entities.map((entity) => [entity.entity_id, entity])),
    entities: {},
    devices: {},
    language: "en",
    locale: { language: "en", number_format: "language", time_format: "24", time_zone: "server" },
    config: { time_zone: "Europe/Berlin", components: ["recorder"] },
    connection: { subscribeMessage: () => Promise.reject(new Error("not connected")) },
    localize: (key) => key,
    loadBackendTranslation: () => Promise.resolve((key) => key),
    formatEntityState: (entity) =>
      `${entity.state} ${String(entity.attributes["unit_of_measurement"])}`,
    formatEntityName: (entity) => entity.entity_id,
    callWS: () => Promise.reject(new Error("not connected")),
    callService: () => Promise.reject(new Error("not connected")),
  };
}
