/** What a bank shows instead of cells: where its extremes are, and each of its packs. */
import type { TemplateResult, html } from "lit";

import css from "./bank.css";
import type { Battery, Live } from "./batteries.ts";
import type { Hass, Localize } from "./hass.ts";
import type { Model, Value } from "./model.ts";
import type { Words } from "./words.ts";

export interface Pack {
  readonly battery: Battery;
  readonly model: Model;
  readonly live: Live | undefined;
}

/** Not shared with the main module, which loads this one only for a bank. */
export interface Kit {
  readonly html: typeof html;
  readonly words: Words;
  readonly localize: Localize;
  readonly hass: Hass;
  readonly percent: (value: number) => string;
  /** Make a button that opens the details of an entity. */
  readonly open: (value: Value, kind: string, content: TemplateResult, named: boolean) => unknown;
}

interface Share {
  readonly current: number;
  readonly capacity: number;
}

const EXTREMES = [
  ["sensor.max_cell_voltage", "highest"],
  ["sensor.min_cell_voltage", "lowest"],
  ["sensor.max_temperature", ""],
  ["sensor.min_temperature", ""],
] as const;
const MOSFETS = ["binary_sensor.charging", "binary_sensor.discharging"] as const;
const SUMMARY = ["sensor.pack_voltage_spread", "sensor.current_sharing_deviation"] as const;

export function bankPart(kit: Kit, model: Model, packs: readonly Pack[]): TemplateResult {
  const { html } = kit;
  const online = model.value("sensor.packs_online");
  const summary = SUMMARY.flatMap((key) => model.value(key) ?? []);
  const shares = model.value("sensor.current_sharing_deviation")?.attributes["shares"] as
    Readonly<Record<string, Share>> | undefined;
  return html`<style>
      ${css}
    </style>
    <section class="cell-part bank">
      <div class="bar-head">
        ${
          online
            ? kit.open(
                online,
                "online",
                html`<h3>${online.name}</h3>
                  <span class="value">${online.text} / ${online.attributes["packs"]}</span>`,
                true,
              )
            : ""
        }
        <span class="summary"
          >${summary.map((value) => kit.open(value, "", named(kit, value), true))}</span
        >
      </div>
      <div class="extremes">
        ${EXTREMES.map(([key, mark]) => extreme(kit, model.value(key), mark, packs))}
      </div>
      <ul class="packs">
        ${packs.map((pack) => html`<li>${row(kit, pack, shares?.[givenName(kit, pack)])}</li>`)}
      </ul>
    </section>`;
}

/** The bank knows its packs by the names that Home Assistant gave them, before the user did. */
function givenName({ hass }: Kit, { battery }: Pack): string {
  return hass.devices[battery.device_id]?.name ?? battery.title;
}

function named({ html }: Kit, { name, text }: Value): TemplateResult {
  return html`${name} <span class="value">${text}</span>`;
}

function extreme(
  kit: Kit,
  value: Value | undefined,
  mark: string,
  packs: readonly Pack[],
): unknown {
  if (!value) return "";
  const { pack: name, cell, incomplete } = value.attributes;
  const pack = packs.find((each) => givenName(kit, each) === name);
  const place = [
    pack?.battery.title ?? name,
    ...(cell === undefined ? [] : [kit.words("cell", { cell: String(cell) })]),
    ...(incomplete ? [incompleteOf(kit)] : []),
  ];
  return kit.open(
    value,
    `fact ${mark}`,
    kit.html`<span class="label">${value.name}</span>
      <span class="value">${value.text}<span class="sign"></span></span>
      <span class="label">${place.join(" · ")}</span>`,
    true,
  );
}

/** Return how the attribute is called that says that a pack is missing. */
function incompleteOf({ localize }: Kit): string {
  const attributes = "component.jk_bms.entity.sensor.min_cell_voltage.state_attributes";
  return localize(`${attributes}.incomplete.name`);
}

function row(kit: Kit, { battery, model, live }: Pack, share: Share | undefined): unknown {
  const { html, words, percent } = kit;
  const { soc, voltage, current } = model;
  const opened = soc ?? voltage;
  const reason = live?.reason;
  const missing = live?.available
    ? ""
    : (reason &&
        kit.localize(`component.jk_bms.exceptions.${reason.key}.message`, reason.placeholders)) ||
      kit.hass.localize("state.default.unavailable");
  const off = MOSFETS.flatMap((key) => model.value(key) ?? []).filter(
    ({ state }) => state === "off",
  );
  const content = html`<strong>${battery.title}</strong>
    <span class="values"
      >${[soc, voltage, current].map((value) =>
        value ? html`<span class="value">${value.text}</span>` : "",
      )}</span
    >
    ${
      share
        ? html`<span class="track"
              ><span class="fill" style="--size: ${share.current}%"></span
              ><span class="share" style="--at: ${share.capacity}%"></span
            ></span>
            <span class="label"
              >${words("current")} <span class="value">${percent(share.current)}</span> ·
              ${words("capacity")} <span class="value">${percent(share.capacity)}</span></span
            >`
        : ""
    }
    ${off.map(({ name, text }) => html`<span class="label">${name}: ${text}</span>`)}
    ${missing ? html`<span class="missing">${missing}</span>` : ""}`;
  const kind = `pack ${live?.available ? "" : "gone"}`;
  return opened ? kit.open(opened, kind, content, true) : html`<div class=${kind}>${content}</div>`;
}
