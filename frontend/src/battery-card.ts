/** `jk-bms-battery-card`: everything about one battery. */
import { html, nothing, svg, unsafeCSS, type PropertyValues, type TemplateResult } from "lit";

import type { Pack } from "./bank.ts";
import type { Battery, Live } from "./batteries.ts";
import batteryStyles from "./battery-card.css";
import { BatteriesElement } from "./element.ts";
import { formatDuration, formatNumber, formatPercent, formatTime } from "./format.ts";
import { runAction, showMoreInfo, type GridOptions, type Hass } from "./hass.ts";
import { fetchHistory, path, points, type History, type Point } from "./history.ts";
import {
  BALANCER,
  Memory,
  activity,
  buildModel,
  cellEntities,
  freedUntil,
  levelOf,
  millivolts,
  windowOf,
  type Cell,
  type Fault,
  type Model,
  type Value,
} from "./model.ts";
import shared from "./shared.css";
import { BATTERY_CARD } from "./tags.ts";
import { currentWords, type Word } from "./words.ts";

export interface BatteryCardConfig {
  readonly type: string;
  readonly device_id?: string;
  /** What is shown, in this order; everything by default. */
  readonly parts?: readonly Part[];
}

const PARTS = ["charge", "values", "cells", "history", "states", "link"] as const;

/** What stands below each cell: its voltage, what it is above the average, its wire resistance. */
const UNITS = { limits: "", average: "mV", wires: "mΩ" } as const;

export type Part = (typeof PARTS)[number];
type Mode = keyof typeof UNITS;
type CellEntities = ReturnType<typeof cellEntities>;

const RING = 2 * Math.PI * 50;
const GRAPH = [200, 44] as const;
/** ms between two looks at the statistics, of which there is a new one every hour. */
const HISTORY_AGE = 15 * 60 * 1000;
const GRAPHED = [
  ["sensor.min_cell_voltage", "min"],
  ["sensor.max_cell_voltage", "max"],
  ["sensor.state_of_charge", "mean"],
] as const;

/** Return the faults of a pack that is read. */
function faultsOf({ battery, model, live }: Pack): Fault[] {
  return live?.available ? model.faults.map((fault) => ({ ...fault, pack: battery.title })) : [];
}

/** Return how many cells a row has if all rows are to be about as long. */
function perRow(cells: number, most: number): number {
  return Math.ceil(cells / Math.ceil(cells / most));
}

export class BatteryCard extends BatteriesElement {
  static override styles = [unsafeCSS(shared), unsafeCSS(batteryStyles)];
  static override properties = {
    _config: { state: true },
    _mode: { state: true },
    _history: { state: true },
    _heat: { state: true },
    _refreshing: { state: true },
    _bank: { state: true },
  };
  declare _config: BatteryCardConfig;
  declare _mode: Mode;
  declare _history: History;
  declare _heat: TemplateResult | undefined;
  declare _refreshing: boolean;
  /** What draws a bank, once it is needed. */
  declare _bank: typeof import("./bank.ts") | undefined;
  readonly #memory = new Memory();
  #historyTime = 0;

  constructor() {
    super();
    this._config = { type: `custom:${BATTERY_CARD}` };
    this._mode = "limits";
    this._history = {};
    this._refreshing = false;
  }

  static getStubConfig(hass: Hass): Partial<BatteryCardConfig> {
    const ours = Object.values(hass.entities).find((entity) => entity?.platform === "jk_bms");
    return ours?.device_id === undefined ? {} : { device_id: ours.device_id };
  }

  static async getConfigForm(): Promise<unknown> {
    const { configForm } = await import("./editor.ts");
    return configForm(currentWords());
  }

  setConfig(config: BatteryCardConfig): void {
    if (config.device_id !== undefined && typeof config.device_id !== "string") {
      throw new Error("device_id: the id of a device is expected");
    }
    if (config.device_id !== this._config.device_id) {
      this.#historyTime = 0;
      this._history = {};
      this._heat = undefined;
    }
    this._config = config;
  }

  getCardSize(): number {
    return 10;
  }

  getGridOptions(): GridOptions {
    return { columns: 12, min_columns: 3, rows: "auto", min_rows: 2 };
  }

  /** The battery of the card; of a bank the packs as well. */
  protected override get shown(): readonly Battery[] {
    const all = this.store?.batteries ?? [];
    return all
      .filter(({ device_id }) => device_id === this._config.device_id)
      .flatMap((one) => [one, ...all.filter(({ entry_id }) => one.packs.includes(entry_id))]);
  }

  protected override whenVisible(): void {
    const [battery] = this.shown;
    if (!battery || !this.hass || Date.now() - this.#historyTime < HISTORY_AGE) return;
    this.#historyTime = Date.now();
    void this.#fetch(GRAPHED.map(([key]) => battery.entities[key])).then((history) => {
      this._history = history;
    });
  }

  protected override updated(changed: PropertyValues): void {
    super.updated(changed);
    if (changed.has("_config") && this.hasAttribute("visible")) this.whenVisible();
  }

  async #fetch(ids: readonly (string | undefined)[]): Promise<History> {
    if (!this.hass) return {};
    return fetchHistory(
      this.hass,
      ids.filter((id) => id !== undefined),
    );
  }

  override render(): TemplateResult | typeof nothing {
    const { hass, store, words } = this;
    if (!hass || !store || !this.ready) return nothing;
    const [battery, ...members] = this.shown;
    if (!battery) {
      if (store.failed) return this.#message(words("not_loaded"));
      // The first event is under way.
      if (!store.batteries) return html`<ha-card></ha-card>`;
      return this.#message(words(this._config.device_id ? "battery_not_found" : "choose_battery"));
    }
    const live = store.live[battery.device_id];
    const model = buildModel(hass, battery, live, this.#memory);
    const packs = members.map((pack): Pack => {
      const live = store.live[pack.device_id];
      return { battery: pack, live, model: buildModel(hass, pack, live, this.#memory) };
    });
    const faults = packs.length ? packs.flatMap(faultsOf) : model.faults;
    const { parts } = this._config;
    const shown = parts?.length ? parts : PARTS;
    return html`
      <ha-card>
        <div class="frame ${model.outdated ? "outdated" : ""}">
          <div class="alarms" role="status" aria-live="polite">
            ${faults.map((fault) => this.#alarm(fault))}
          </div>
          ${this.#notice(hass, live)}
          ${shown.map((part) => this.#part(part, hass, battery, model, live, packs))}
        </div>
      </ha-card>
    `;
  }

  #part(
    part: Part,
    hass: Hass,
    battery: Battery,
    model: Model,
    live: Live | undefined,
    packs: readonly Pack[],
  ): TemplateResult | typeof nothing {
    switch (part) {
      case "charge":
        return this.#head(hass, battery, model);
      case "values":
        return this.#facts(hass, model, live);
      case "cells":
        return battery.packs.length
          ? this.#packs(hass, model, packs)
          : this.#cells(hass, battery, model);
      case "history":
        return this.#graphs(hass, battery, model);
      case "states":
        return this.#chips(model);
      case "link":
        return this.#foot(hass, battery, model, live);
      default:
        return nothing;
    }
  }

  #head(hass: Hass, { device_id }: Battery, model: Model): TemplateResult {
    const { title } = model;
    const page = `/config/devices/device/${device_id}`;
    return html`<div class="head">
      ${this.#ring(model)}
      <div class="title">
        <h2>${hass.user?.is_admin ? html`<a href=${page}>${title}</a>` : title}</h2>
        ${this.#status(hass, model)}
      </div>
    </div>`;
  }

  #message(text: string): TemplateResult {
    return html`<ha-card><p class="message">${text}</p></ha-card>`;
  }

  #packs(hass: Hass, model: Model, packs: readonly Pack[]): TemplateResult | typeof nothing {
    if (!this._bank) {
      void import("./bank.ts").then((bank) => (this._bank = bank));
      return nothing;
    }
    const { words, localize } = this;
    return this._bank.bankPart(
      {
        html,
        words,
        localize,
        hass,
        percent: (value) => formatPercent(hass, value),
        open: this.#open.bind(this),
      },
      model,
      packs,
    );
  }

  #alarm({ key, cells, pack }: Fault): TemplateResult {
    const name = this.localize(`component.jk_bms.entity.binary_sensor.${key}.name`) || key;
    const where = [pack, this.#cellsInWords(cells)].filter(Boolean).join(", ");
    return html`<div class="alarm">
      <ha-icon icon="mdi:alert"></ha-icon>
      <span>${name}${where ? html` <span class="muted">(${where})</span>` : nothing}</span>
    </div>`;
  }

  #cellsInWords(cells: readonly number[]): string {
    if (cells.length === 0) return "";
    const [only] = cells;
    return cells.length === 1
      ? this.words("cell", { cell: String(only) })
      : this.words("cells_meant", { cells: cells.join(", ") });
  }

  #notice(hass: Hass, live: Live | undefined): TemplateResult | typeof nothing {
    if (live?.resumes_at) {
      return html`<p class="reason freed">${freedUntil(hass, this.words, live.resumes_at)}</p>`;
    }
    if (!live?.reason) return nothing;
    const { key, placeholders } = live.reason;
    const text = this.localize(`component.jk_bms.exceptions.${key}.message`, placeholders);
    return text ? html`<p class="reason">${text}</p>` : nothing;
  }

  #ring({ soc, flow }: Model): TemplateResult | typeof nothing {
    if (!soc) return nothing;
    const level = (Math.min(100, Math.max(0, soc.number)) / 100) * RING;
    return this.#open(
      soc,
      "ring",
      html`<svg viewBox="0 0 120 120" aria-hidden="true">
          <circle class="back" cx="60" cy="60" r="50"></circle>
          <circle
            class="level ${levelOf(soc.number)}"
            cx="60"
            cy="60"
            r="50"
            transform="rotate(-90 60 60)"
            stroke-dasharray="${level.toFixed(1)} ${RING.toFixed(1)}"
          ></circle>
          <circle
            class="flow ${flow ?? ""}"
            cx="60"
            cy="60"
            r="57.5"
            transform="rotate(-90 60 60)"
          ></circle>
        </svg>
        <span class="text"
          ><span class="value">${soc.text}</span
          >${flow && flow !== "idle" ? html`<span class="arrow ${flow}"></span>` : nothing}</span
        >`,
    );
  }

  #status(hass: Hass, model: Model): TemplateResult {
    const { power } = model;
    return html`
      ${power ? this.#open(power, "power", html`<span class="value">${power.text}</span>`) : nothing}
      <p class="status muted">${activity(hass, this.words, model).join(" · ")}</p>
    `;
  }

  #facts(hass: Hass, model: Model, live: Live | undefined): TemplateResult | typeof nothing {
    const { voltage, current, remaining, capacity, cycles, health, throughput, runtime } = model;
    const facts = [
      { label: this.words("voltage"), value: voltage },
      { label: this.words("current"), value: current },
      {
        label: this.words("capacity"),
        value: remaining ?? capacity,
        more: remaining && capacity ? ` / ${capacity.text}` : "",
      },
      {
        label: this.words("cycles"),
        value: cycles,
        more: throughput ? ` · ${throughput.text}` : "",
      },
      { label: this.words("health"), value: health },
      {
        label: this.localize("component.jk_bms.entity.sensor.total_runtime.name"),
        value: runtime,
        // Its sensor is off by default.
        text: runtime?.text ?? (live?.total_runtime && formatDuration(hass, live.total_runtime)),
      },
    ];
    return html`<div class="facts">
      ${facts.map(({ label, value, more, text = value?.text }) => {
        if (!text) return nothing;
        const content = html`<span class="label">${label}</span
          ><span class="value">${text}${more ? html`<small>${more}</small>` : nothing}</span>`;
        return value
          ? this.#open(value, "fact", content, true)
          : html`<div class="fact">${content}</div>`;
      })}
    </div>`;
  }

  /** Return a button that opens the details of an entity; its text may not name it. */
  #open(value: Value, kind: string, content: TemplateResult, named = false): TemplateResult {
    return html`<button
      class=${kind}
      title=${value.name}
      aria-label=${named ? nothing : `${value.name}: ${value.text}`}
      @click=${() => showMoreInfo(this, value.entityId)}
    >
      ${content}
    </button>`;
  }

  #cells(hass: Hass, battery: Battery, model: Model): TemplateResult | typeof nothing {
    const { cells, average, spread } = model;
    if (!cells.length || average === undefined || spread === undefined) return nothing;
    const window = windowOf(cells);
    const columns = [
      `--per-row: ${perRow(cells.length, 8)}`,
      `--per-row-wide: ${perRow(cells.length, 12)}`,
      ...(cells.length > 16 ? ["--bar: 40px"] : []),
    ].join("; ");
    const volts = (value: number) => `${formatNumber(hass, value, 3)} V`;
    const { low, high } = model.scale;
    const trigger = battery.limits?.balance_trigger;
    const over = trigger && spread >= trigger ? ` ≥ ${millivolts(hass, trigger)}` : "";
    return html`<section class="cell-part">
      <div class="bar-head">
        <h3>${this.words("cells")}</h3>
        <span class="summary">
          <span>${this.words("average")} <span class="value">${volts(average)}</span></span>
          <span class=${over && "over"}
            >${this.words("spread")}
            <span class="value">${millivolts(hass, spread)}${over}</span></span
          >
        </span>
      </div>
      <div class="grid">
        <ul class="cells" style=${columns}>
          ${cells.map((cell) => this.#cell(hass, cell, model, window))}
        </ul>
        ${this.#beam(model)}
      </div>
      <div class="bar-head balancer">
        ${this.#balancer(model, battery)}
        <span class="scales">
          ${this.#scale(
            "average",
            "arrow-expand-vertical",
            "around_average",
            this._mode === "average"
              ? `± ${millivolts(hass, window)}`
              : `${formatNumber(hass, low, 2)} – ${formatNumber(hass, high, 2)} V`,
          )}
          ${cells.some(({ resistance }) => resistance) ? this.#scale("wires", "omega", "wire_resistance", UNITS.wires) : nothing}
        </span>
      </div>
    </section>`;
  }

  /** Return a button that shows something else of the cells, or their voltages again. */
  #scale(mode: Mode, icon: string, word: Word, text: string): TemplateResult {
    const pressed = this._mode === mode;
    return html`<button
      class="chip"
      title=${this.words(word)}
      aria-label="${text}: ${this.words(word)}"
      aria-pressed=${pressed}
      @click=${() => (this._mode = pressed ? "limits" : mode)}
    >
      <ha-icon icon="mdi:${icon}"></ha-icon><span class="value">${text}</span>
    </button>`;
  }

  #cell(hass: Hass, cell: Cell, { scale }: Model, window: number): TemplateResult {
    const fraction = (value: number, low: number, high: number) =>
      100 * Math.min(1, Math.max(0, (value - low) / (high - low)));
    const deviation = fraction(cell.deviation, -window, window);
    const around = this._mode === "average";
    const style = around
      ? // At least a line, where a cell is at the average.
        `--from: ${Math.min(deviation, 50)}%; --size: ${Math.max(Math.abs(deviation - 50), 2)}%`
      : `--size: ${fraction(cell.number, scale.low, scale.high)}%`;
    const lines = around ? [0.5] : [scale.empty, scale.full];
    const marks = (["lowest", "highest"] as const).filter((mark) => cell[mark]);
    const number = String(cell.cell);
    const text = {
      limits: () => cell.short,
      average: () => formatNumber(hass, cell.deviation * 1000, 0, { signDisplay: "exceptZero" }),
      wires: () => (cell.resistance ? formatNumber(hass, cell.resistance * 1000, 0) : "–"),
    }[this._mode]();
    const label = [
      // The user may have given it a name without its number.
      `${cell.name}${cell.name.includes(number) ? "" : ` ${number}`}: ${cell.text}`,
      ...(UNITS[this._mode] ? [`${text} ${UNITS[this._mode]}`] : []),
      ...marks.map((mark) => this.words(mark)),
    ].join(", ");
    return html`<li>
      <button
        class="${marks.join(" ")} ${cell.alarm ? "alarmed" : ""}"
        aria-label=${label}
        @click=${() => showMoreInfo(this, cell.entityId)}
      >
        <span class="number">${cell.cell}<span class="sign"></span></span>
        <span class="track" style=${style}>
          <span class="fill"></span>
          ${lines.map((at) =>
            at === undefined
              ? nothing
              : html`<span class="line" style="--at: ${at * 100}%"></span>`,
          )}
        </span>
        <span class="volts value">${text}</span>
      </button>
    </li>`;
  }

  /** Draw the way of the balanced charge, by what is loaded once the balancer works. */
  #beam({ balancer, cells }: Model): TemplateResult | typeof nothing {
    if (!balancer) return nothing;
    void import("./beam.ts");
    const place = (number: number | undefined) => cells.findIndex(({ cell }) => cell === number);
    return html`<jk-bms-beam
      from=${place(balancer.from[0])}
      to=${place(balancer.to[0])}
    ></jk-bms-beam>`;
  }

  #balancer({ balancer }: Model, { entities }: Battery): TemplateResult {
    if (!balancer) {
      const known = BALANCER.some((key) => entities[key]);
      return html`<span class="muted">${known ? this.words("balancer_idle") : ""}</span>`;
    }
    const { current, from, to } = balancer;
    return html`<span dir="auto"
      >${this.words("balancer_works", {
        // The sign is the direction, which the words give.
        current: current?.text.replace(/^[-\u2212]/, "") ?? "",
        from: from.join(", ") || "?",
        to: to.join(", ") || "?",
      })}</span
    >`;
  }

  #graphs(hass: Hass, battery: Battery, model: Model): TemplateResult | typeof nothing {
    // Lines of the last day up to now.
    const [low, high, soc] = GRAPHED.map(([key, kind]) => {
      const line = points(this._history[battery.entities[key] ?? ""], kind);
      const now = model.stale ? undefined : model.value(key)?.number;
      if (now !== undefined) line.push({ x: 1, y: now });
      return line.length > 2 ? line : undefined;
    });
    const spread = low && high ? this.#spreadGraph(hass, battery, low, high) : nothing;
    const charge = soc ? this.#chargeGraph(hass, soc) : nothing;
    if (spread === nothing && charge === nothing) return nothing;
    return html`<section class="graphs">${spread}${charge}</section>
      ${this._heat ?? nothing}`;
  }

  #spreadGraph(
    hass: Hass,
    battery: Battery,
    low: readonly Point[],
    high: readonly Point[],
  ): TemplateResult {
    const range = {
      low: Math.min(...low.map(({ y }) => y)),
      high: Math.max(...high.map(({ y }) => y)),
    };
    const [below, above] = [path(low, range, GRAPH), path(high, range, GRAPH)];
    const back = path([...low].reverse(), range, GRAPH).replace("M", "L");
    const text = `${formatNumber(hass, range.low, 3)} – ${formatNumber(hass, range.high, 3)} V`;
    return this.#graph(
      hass,
      this.words("spread_24_h"),
      text,
      svg`<path class="area" d="${above}${back}Z"></path>
        <path class="highest" d=${above}></path>
        <path class="lowest" d=${below}></path>`,
      cellEntities(battery),
    );
  }

  #chargeGraph(hass: Hass, soc: readonly Point[]): TemplateResult {
    const line = path(soc, { low: 0, high: 100 }, GRAPH);
    const values = soc.map(({ y }) => y);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const text = `${formatPercent(hass, least)} – ${formatPercent(hass, most)}`;
    const start = ((soc[0]?.x ?? 0) * GRAPH[0]).toFixed(1);
    return this.#graph(
      hass,
      this.words("charge_24_h"),
      text,
      svg`<path class="area" d="${line}L${GRAPH[0]} ${GRAPH[1]}L${start} ${GRAPH[1]}Z"></path>
        <path d=${line}></path>`,
    );
  }

  /** Return a graph, which opens the heat map of the cells if there are any. */
  #graph(
    hass: Hass,
    title: string,
    text: string,
    content: unknown,
    cells: CellEntities = [],
  ): TemplateResult {
    const head = html`<span>${title}</span> <span class="value">${text}</span>`;
    const drawing = html`<svg
      viewBox="0 0 ${GRAPH[0]} ${GRAPH[1]}"
      preserveAspectRatio="none"
      role="img"
      aria-label="${title}: ${text}"
    >
      ${content}
    </svg>`;
    return cells.length
      ? html`<button
          class="graph"
          aria-expanded=${Boolean(this._heat)}
          aria-label="${title}: ${text}. ${this.words("all_cells_24_h")}"
          @click=${() => void this.#toggleHeatMap(hass, cells)}
        >
          <span class="bar-head summary">${head}</span>${drawing}
        </button>`
      : html`<div class="graph"><span class="bar-head summary">${head}</span>${drawing}</div>`;
  }

  async #toggleHeatMap(hass: Hass, cells: CellEntities): Promise<void> {
    if (this._heat) {
      this._heat = undefined;
      return;
    }
    const [history, { heatMap }] = await Promise.all([
      this.#fetch(cells.map(({ id }) => id)),
      import("./heat-map.ts"),
    ]);
    const kit = {
      html,
      svg,
      words: this.words,
      millivolts: (volts: number) => millivolts(hass, volts),
      time: (time: Date) => formatTime(hass, time),
    };
    this._heat = heatMap(
      kit,
      cells.map(({ cell, id }) => ({ cell, line: points(history[id], "mean") })),
    );
  }

  #chips(model: Model): TemplateResult | typeof nothing {
    const { temperatures, states, switches } = model;
    if (!temperatures.length && !states.length && !switches.length) return nothing;
    return html`<div class="chips">
      ${temperatures.map(({ label, value }) =>
        this.#open(
          value,
          "chip",
          html`<span class="muted">${label === "mosfet" ? this.words("mosfet") : label}</span>
            <span class="value">${value.text}</span>`,
          true,
        ),
      )}
      ${states.map((value) =>
        this.#open(
          value,
          "chip",
          html`<span class="dot ${value.state}"></span> ${value.name}
            <span class="muted">${value.text}</span>`,
          true,
        ),
      )}
      ${switches.map((value) => this.#switch(value, model.stale))}
    </div>`;
  }

  #switch(value: Value, stale: boolean): TemplateResult {
    return html`<button
      class="chip"
      role="switch"
      aria-checked=${value.state === "on"}
      ?disabled=${stale}
      @click=${() =>
        this.#turn(
          value,
          this.words("turn_off_title", { name: value.name }),
          this.words("turn_off_text"),
        )}
    >
      <span class="dot ${value.state}"></span> ${value.name}
    </button>`;
  }

  /** Turn a switch on, or off after asking. */
  #turn({ entityId, state }: Value, title: string, text: string): void {
    const on = state === "on";
    runAction(this, {
      action: "perform-action",
      perform_action: `switch.turn_${on ? "off" : "on"}`,
      target: { entity_id: entityId },
      ...(on ? { confirmation: { title, text } } : {}),
    });
  }

  #foot(
    hass: Hass,
    battery: Battery,
    { link, refresh }: Model,
    live: Live | undefined,
  ): TemplateResult {
    const until = live?.resumes_at;
    // A bank has no link.
    const about =
      until || battery.packs.length
        ? ""
        : this.words(battery.holds_link ? "link_held" : "link_on_demand");
    const { hw_version, sw_version } = hass.devices[battery.device_id] ?? {};
    const versions = [hw_version && `HW ${hw_version}`, sw_version && `SW ${sw_version}`].filter(
      Boolean,
    );
    return html`<div class="foot">
      <span class="read">
        ${
          live?.last_read
            ? html`${this.words("last_read")}
                <jk-bms-age .time=${live.last_read} .language=${hass.locale.language}></jk-bms-age>
                ${about ? "· " : ""}`
            : nothing
        }${about}
      </span>
      ${versions.length ? html`<span class="versions value">${versions.join(" · ")}</span>` : nothing}
      <span class="actions">
        ${
          refresh && !until
            ? this.#action(
                "refresh",
                "refresh",
                () => void this.#refresh(refresh),
                this._refreshing,
              )
            : nothing
        }
        ${
          link
            ? this.#action(
                link.state === "on" ? "cellphone-link" : "bluetooth",
                link.state === "on" ? "free_for_app" : "take_back",
                () => this.#turn(link, this.words("free_for_app"), this.words("free_text")),
              )
            : nothing
        }
      </span>
    </div>`;
  }

  #action(icon: string, word: Word, run: () => void, disabled = false): TemplateResult {
    return html`<button class="action" ?disabled=${disabled} @click=${run}>
      <ha-icon icon="mdi:${icon}"></ha-icon>${this.words(word)}
    </button>`;
  }

  async #refresh(entityId: string): Promise<void> {
    if (!this.hass || this._refreshing) return;
    this._refreshing = true;
    try {
      await this.hass.callService("button", "press", {}, { entity_id: entityId });
    } catch {
      // Home Assistant has shown why.
    } finally {
      this._refreshing = false;
    }
  }
}
