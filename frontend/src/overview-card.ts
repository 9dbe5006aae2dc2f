/** `jk-bms-overview-card`: all batteries, the one that needs attention first. */
import { html, nothing, unsafeCSS, type TemplateResult } from "lit";

import type { Battery } from "./batteries.ts";
import { BatteriesElement } from "./element.ts";
import { formatNumber, formatPercent } from "./format.ts";
import { runAction, showMoreInfo, type GridOptions, type Hass } from "./hass.ts";
import {
  Memory,
  activity,
  buildModel,
  freedUntil,
  levelOf,
  millivolts,
  totalCharge,
  urgency,
  type Model,
} from "./model.ts";
import overviewStyles from "./overview-card.css";
import shared from "./shared.css";
import { OVERVIEW_CARD } from "./tags.ts";

export interface OverviewCardConfig {
  readonly type: string;
  /** Where a tap on a battery leads, by device id: a path within the same dashboard. */
  readonly paths?: Readonly<Record<string, string>>;
}

/** What the totals are made of. */
const MEASURED = ["sensor.state_of_charge", "sensor.power"] as const;

interface Row {
  readonly battery: Battery;
  readonly model: Model;
  /** Not read any more, although Home Assistant tries. */
  readonly lost: boolean;
  /** Part of a bank, whose row stands above. */
  readonly pack?: boolean;
}

/** What a lost battery did last is over. */
function isCounted({ model: { stale, soc, power } }: Row): boolean {
  return !stale && Boolean(soc ?? power);
}

export class OverviewCard extends BatteriesElement {
  static override styles = [unsafeCSS(shared), unsafeCSS(overviewStyles)];
  static override properties = { _config: { state: true } };
  declare _config: OverviewCardConfig;
  readonly #memory = new Memory();

  constructor() {
    super();
    this._config = { type: `custom:${OVERVIEW_CARD}` };
  }

  static getStubConfig(): Partial<OverviewCardConfig> {
    return {};
  }

  static getConfigForm(): unknown {
    return { schema: [] };
  }

  setConfig(config: OverviewCardConfig): void {
    this._config = config;
  }

  getCardSize(): number {
    return 2 + (this.store?.batteries?.length ?? 1) * 2;
  }

  getGridOptions(): GridOptions {
    return { columns: 12, min_columns: 3, rows: "auto", min_rows: 2 };
  }

  protected override get shown(): readonly Battery[] {
    return this.store?.batteries ?? [];
  }

  override render(): TemplateResult | typeof nothing {
    const { hass, store, words } = this;
    if (!hass || !store || !this.ready) return nothing;
    if (!this.shown.length) {
      const text = store.failed
        ? words("not_loaded")
        : store.batteries
          ? words("no_batteries")
          : "";
      return html`<ha-card><p class="message">${text}</p></ha-card>`;
    }
    const rows = this.shown
      .map((battery): Row => {
        const live = store.live[battery.device_id];
        const model = buildModel(hass, battery, live, this.#memory);
        return { battery, model, lost: !live?.available && !live?.resumes_at };
      })
      .sort((a, b) => urgency(a) - urgency(b));
    const packs = new Set(this.shown.flatMap((battery) => battery.packs));
    const groups = rows
      .filter(({ battery }) => !packs.has(battery.entry_id))
      .map((row) => {
        const packs = rows
          .filter(({ battery }) => row.battery.packs.includes(battery.entry_id))
          .map((pack) => ({ ...pack, pack: true }));
        const group = [row, ...packs];
        return {
          group,
          // The packs stand for a bank that has no sums.
          counted: packs.length && !isCounted(row) ? packs : [row],
          // A bank is as urgent as the worst of its packs.
          worst: Math.min(...group.map(urgency)),
        };
      })
      .sort((a, b) => a.worst - b.worst);
    return html`<ha-card>
      <div class="frame">
        ${this.#total(
          hass,
          groups.flatMap(({ counted }) => counted),
        )}
        <ul class="rows">
          ${groups.flatMap(({ group }) => group.map((row) => html`<li>${this.#row(hass, row)}</li>`))}
        </ul>
      </div>
    </ha-card>`;
  }

  #total(hass: Hass, rows: readonly Row[]): TemplateResult | typeof nothing {
    if (rows.length < 2) return nothing;
    // A balancer measures neither charge nor power, and is not missed.
    const all = rows.filter(({ battery: { entities } }) => MEASURED.some((key) => entities[key]));
    const models = all.filter(isCounted).map(({ model }) => model);
    const charge = totalCharge(models);
    const powers = models.flatMap(({ power }) => (power ? [power.number] : []));
    const power = powers.reduce((sum, each) => sum + each, 0);
    const flow = power > 0 ? "charging" : "discharging";
    return html`<div class="total">
      <h2>${this.words("all_batteries")}</h2>
      ${
        models.length < all.length
          ? html`<span class="note"
              >${this.words("counted", {
                counted: String(models.length),
                all: String(all.length),
              })}</span
            >`
          : nothing
      }
      ${
        charge === undefined
          ? nothing
          : html`<span class="value">${formatPercent(hass, charge)}</span>`
      }
      ${
        powers.length
          ? html`<span class="value"
              >${Math.abs(power) >= 1 ? html`<span class="arrow ${flow}"></span> ` : nothing}${formatNumber(
                hass,
                power,
                0,
              )}
              W</span
            >`
          : nothing
      }
    </div>`;
  }

  #row(hass: Hass, { battery, model, lost, pack }: Row): TemplateResult {
    const { soc, power } = model;
    const [flow, ...timeLeft] = activity(hass, this.words, model);
    const { reason, resumes_at } = this.store?.live[battery.device_id] ?? {};
    const state = resumes_at
      ? freedUntil(hass, this.words, resumes_at)
      : [flow, power?.text, ...timeLeft].filter(Boolean).join(" · ");
    const spread =
      model.spread === undefined ? "" : `${this.words("spread")} ${millivolts(hass, model.spread)}`;
    const faults = model.faults.map(
      ({ key }) => this.localize(`component.jk_bms.entity.binary_sensor.${key}.name`) || key,
    );
    const problems = [
      ...faults,
      ...(lost && reason
        ? [this.localize(`component.jk_bms.exceptions.${reason.key}.message`, reason.placeholders)]
        : []),
    ];
    const level = soc ? levelOf(soc.number) : "high";
    return html`<button
      class="row ${model.outdated ? "outdated" : ""} ${pack ? "pack" : ""}"
      @click=${() => this.#open(battery)}
    >
      <span class="name">${model.title}</span>
      <span class="value">${soc?.text ?? model.voltage?.text ?? ""}</span>
      ${
        soc
          ? html`<span class="track"
              ><span class="fill ${level}" style="--size: ${soc.number}%"></span
            ></span>`
          : nothing
      }
      <span class="note">${state}</span>
      <span class="note end value">${spread}</span>
      ${problems.map(
        (text) =>
          html`<span class="bad"><ha-icon icon="mdi:alert"></ha-icon><span>${text}</span></span>`,
      )}
    </button>`;
  }

  #open(battery: Battery): void {
    const path = this._config.paths?.[battery.device_id];
    const soc =
      battery.entities["sensor.state_of_charge"] ?? battery.entities["sensor.total_voltage"];
    if (path !== undefined) {
      const dashboard = location.pathname.split("/")[1] ?? "";
      runAction(this, { action: "navigate", navigation_path: `/${dashboard}/${path}` });
    } else if (soc !== undefined) {
      showMoreInfo(this, soc);
    }
  }
}
