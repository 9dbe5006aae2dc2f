import { html, nothing, type TemplateResult } from "lit";
import { expect, test } from "vitest";

import { bankPart, type Kit, type Pack } from "../src/bank.ts";
import { Memory, buildModel } from "../src/model.ts";
import en from "../src/words/en.json" with { type: "json" };
import { wordsOf } from "../src/words.ts";
import { LIVE, makeBattery, makeHass } from "./home.ts";

/** Return the text of a template, without its tags. */
function textOf(shown: unknown): string {
  const flat = (each: unknown): string => {
    if (Array.isArray(each)) return each.map(flat).join(" ");
    if (each === nothing || each === undefined || typeof each === "function") return "";
    if (typeof each !== "object" || each === null) return String(each);
    const { strings, values } = each as TemplateResult;
    return strings.map((text, index) => text + flat(values[index])).join("");
  };
  return flat(shown)
    .replace(/<style>[^]*?<\/style>/g, "")
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

function makePack(title: string, states: Readonly<Record<string, string>>, live = LIVE): Pack {
  const battery = makeBattery(states, title);
  return { battery, live, model: buildModel(makeHass(states), battery, live, new Memory()) };
}

const BANK = {
  "sensor.packs_online": { state: "1", attributes: { packs: 2 } },
  "sensor.min_cell_voltage": {
    state: "3.312",
    attributes: { pack: "Camper", cell: 4, incomplete: true },
  },
  "sensor.max_temperature": { state: "25.1", attributes: { pack: "House" } },
  "sensor.current_sharing_deviation": {
    state: "8",
    attributes: { shares: { Camper: { current: 54, capacity: 50 } } },
  },
};

function shownBank(packs: readonly Pack[]): string {
  const states = Object.fromEntries(Object.entries(BANK).map(([key, { state }]) => [key, state]));
  const hass = makeHass(states);
  const battery = makeBattery(states, "Bank");
  const model = buildModel(
    {
      ...hass,
      states: Object.fromEntries(
        Object.entries(BANK).map(([key, { state, attributes }]) => {
          const entity_id = battery.entities[key] ?? "";
          return [entity_id, { entity_id, state, attributes, last_updated: "" }];
        }),
      ),
      formatEntityState: ({ state }) => state,
      formatEntityName: ({ entity_id }) => entity_id.replace("sensor.renamed_", ""),
    },
    battery,
    LIVE,
    new Memory(),
  );
  const kit: Kit = {
    html,
    words: wordsOf(en),
    localize: (key) => key.split(".").at(-2) ?? "",
    hass: {
      ...hass,
      // Home Assistant knows the pack as Camper, the user as Van.
      devices: { van: { id: "van", name: "Camper", name_by_user: "Van" } },
    },
    percent: (value) => `${value} %`,
    open: (_value, kind, content) => html`<button class=${kind}>${content}</button>`,
  };
  return textOf(bankPart(kit, model, packs));
}

test("extremes name the pack as the user calls it, its cell, and that a pack is missing", () => {
  const shown = shownBank([makePack("House", {}), makePack("Van", {})]);
  expect(shown).toContain("packs_online 1 / 2");
  expect(shown).toContain("min_cell_voltage 3.312 Van · Cell 4 · incomplete");
  expect(shown).toContain("max_temperature 25.1 House");
});

test("a pack shows its values, its shares and a MOSFET that is off", () => {
  const states = { "sensor.state_of_charge": "62", "binary_sensor.charging": "off" };
  const shown = shownBank([makePack("Van", states)]);
  expect(shown).toMatch(/Van 62 V Current 54 % · Capacity 50 %/);
  expect(shown).toMatch(/binary_sensor.renamed_charging: off/);
});

test("a pack that is missing says why", () => {
  const reason = { key: "not_reachable", placeholders: {} };
  const gone = { ...LIVE, available: false };
  expect(shownBank([makePack("Van", {}, { ...gone, reason })])).toContain("not_reachable");
  expect(shownBank([makePack("Van", {}, gone)])).toContain("state.default.unavailable");
});
