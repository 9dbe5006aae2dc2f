// A Home Assistant made of plain objects, for card.test.mjs.
window.home = (() => {
  const events = {};
  const calls = [];
  let hass;
  let states = {};
  let batteries = [];
  let live = {};
  let send = () => {};
  let translations = Promise.resolve();
  let go;

  for (const type of ["hass-action", "hass-more-info", "hass-notification"]) {
    window.addEventListener(type, ({ detail }) => (events[type] ??= []).push(detail));
  }
  for (const [name, value] of Object.entries({
    "--ha-space-2": "8px",
    "--ha-space-4": "16px",
    "--ha-font-size-s": "12px",
    "--ha-font-size-m": "14px",
    "--ha-font-size-l": "16px",
    "--ha-font-size-2xl": "24px",
  })) {
    document.documentElement.style.setProperty(name, value);
  }
  customElements.define("ha-card", class extends HTMLElement {});
  customElements.define("ha-icon", class extends HTMLElement {});

  const LIVE = {
    available: true,
    last_read: new Date().toISOString(),
    resumes_at: null,
    reason: null,
    faults: [],
    wire_resistance_cells: [],
    cell_resistance: [],
  };
  const VALUES = {
    "sensor.state_of_charge": ["62", "%"],
    "sensor.power": ["968", "W"],
    "sensor.current": ["18.8", "A"],
    "sensor.total_voltage": ["53.3", "V"],
    "sensor.capacity_remaining": ["173", "Ah"],
    "sensor.full_charge_capacity": ["280", "Ah"],
    "sensor.charging_cycles": ["41", ""],
    "sensor.time_to_full": ["7800", "s"],
    "sensor.temperature_sensor_1": ["25.1", "°C"],
    "sensor.mosfet_temperature": ["31.2", "°C"],
    "sensor.balancer_state": ["off", ""],
    "binary_sensor.charging": ["on", ""],
    "binary_sensor.discharging": ["on", ""],
    "switch.bluetooth_link": ["on", ""],
    "button.refresh": ["unknown", ""],
  };

  /** Make a bank of these batteries, with the values that a bank has. */
  function bank(packs, values, attributes = {}) {
    const made = battery(0, values, "bank");
    for (const [key, given] of Object.entries(attributes)) {
      const { [made.entities[key]]: state } = states;
      states[made.entities[key]] = { ...state, attributes: { ...state.attributes, ...given } };
    }
    return { ...made, limits: null, packs: packs.map(({ entry_id }) => entry_id) };
  }

  /** Make a battery with so many cells; cells 1 and 5 are the highest, 4 is the lowest. */
  function battery(cells, more = {}, name = "house") {
    const values = { ...(cells ? VALUES : {}), ...more };
    for (let cell = 1; cell <= cells; cell += 1) {
      const volts = { 1: "3.330", 4: "3.323", 5: "3.330" }[cell] ?? "3.328";
      values[`sensor.cell_voltage_${cell}`] = [volts, "V"];
    }
    const entities = {};
    for (const [key, [state, unit]] of Object.entries(values)) {
      const [domain, object] = key.split(".");
      entities[key] = `${domain}.${name}_${object}`;
      states[entities[key]] = entity(entities[key], state, unit, object);
    }
    return {
      entry_id: name,
      device_id: name,
      title: name === "house" ? "House" : name,
      entities,
      cell_count: cells,
      chemistry: "lfp",
      limits: {
        undervoltage: 2.5,
        empty: 2.6,
        balance_start: 3.4,
        balance_trigger: 0.01,
        full: 3.45,
        overvoltage: 3.65,
      },
      holds_link: false,
      packs: [],
    };
  }

  function entity(entity_id, state, unit, object) {
    return { entity_id, state, attributes: { unit_of_measurement: unit, object } };
  }

  function publish() {
    hass = { ...hass, states: { ...states } };
    for (const card of document.body.children) if ("hass" in card) card.hass = hass;
  }

  function change(id, state) {
    states[id] = { ...(states[id] ?? entity(id, state)), state };
  }

  function place(tag, config, more = {}, home = {}) {
    // One connection for each: what was subscribed before is over.
    const localize = (key) =>
      key
        .split(".")
        .slice(2, 5)
        .join(" ")
        .replace(/ (name|message)$/, "")
        .replace("entity ", "");
    hass = {
      states: { ...states },
      entities: {},
      devices: {},
      language: "en",
      locale: { language: "en", number_format: "language", time_format: "24", time_zone: "server" },
      config: { time_zone: "Europe/Berlin", components: [] },
      connection: {
        subscribeMessage: async (callback) => {
          send = callback;
          callback({ version: "0.1.0", batteries, live });
          return async () => {};
        },
      },
      localize: (key) => key,
      loadBackendTranslation: async () => translations.then(() => localize),
      formatEntityState: ({ state, attributes }) =>
        [state, attributes.unit_of_measurement].filter(Boolean).join(" "),
      formatEntityName: ({ attributes }) =>
        attributes.object.replace(/_/g, " ").replace(/^cell/, "Cell"),
      callService: async (domain, service, _data, { entity_id }) => {
        calls.push([domain, service, entity_id]);
      },
      ...home,
    };
    document.body.replaceChildren();
    const card = document.createElement(tag);
    card.setConfig({ type: `custom:${tag}`, ...config });
    Object.assign(card, more);
    card.hass = hass;
    document.body.append(card);
  }

  return {
    events,
    calls,
    bank,
    battery,
    change,
    publish,
    set(id, state) {
      change(id, state);
      publish();
    },
    setAll(state) {
      for (const id of Object.keys(states)) change(id, state);
      publish();
    },
    setLive(changed) {
      live = { house: { ...live.house, ...changed } };
      send({ live });
    },
    send: (event) => send(event),
    /** Keep the translations back until `go` is called. */
    hold() {
      translations = new Promise((resolve) => (go = resolve));
    },
    go: () => go(),
    /** Show the card of a bank; the lives of the packs are changed by their ids. */
    showBank(shown, packs, changed = {}, devices = {}) {
      batteries = [shown, ...packs];
      live = Object.fromEntries(
        batteries.map(({ device_id }) => [device_id, { ...LIVE, ...changed[device_id] }]),
      );
      place("jk-bms-battery-card", { device_id: shown.device_id }, {}, { devices });
    },
    show(shown, changed = {}, config = {}, user = { is_admin: false }) {
      batteries = [shown];
      live = { house: { ...LIVE, ...changed } };
      place("jk-bms-battery-card", { device_id: "house", ...config }, {}, { user });
    },
    showFeature(shown, entity_id) {
      batteries = [shown];
      live = { house: LIVE };
      shown.entities["sensor.delta_cell_voltage"] = entity_id;
      place("jk-bms-cells-feature", {}, { context: { entity_id } });
    },
    showOverview(shown, paths, changed) {
      batteries = shown;
      live = Object.fromEntries(
        shown.map(({ device_id }) => [device_id, { ...LIVE, ...changed[device_id] }]),
      );
      place("jk-bms-overview-card", { paths });
    },
  };
})();
