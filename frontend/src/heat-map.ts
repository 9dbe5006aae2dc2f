/** All cells over the last day, coloured by how far each is from the average of its hour. */
import { html, nothing, svg, type TemplateResult } from "lit";

import type { Battery } from "./batteries.ts";
import type { Hass } from "./hass.ts";
import { points, type History } from "./history.ts";
import { mean, millivolts } from "./model.ts";
import type { Words } from "./words.ts";

/** Half of the colour scale, in V, at least: less than this is no difference. */
const LEAST = 0.01;
const COLUMNS = 24;

export function heatMap(
  hass: Hass,
  words: Words,
  battery: Battery,
  history: History,
): TemplateResult | typeof nothing {
  const rows = Object.entries(battery.entities).flatMap(([key, id]) => {
    const cell = /^sensor\.cell_voltage_(\d+)$/.exec(key)?.[1];
    if (cell === undefined || id === undefined) return [];
    const values = new Map(
      points(history[id], "mean").map(({ x, y }) => [Math.floor(x * COLUMNS), y]),
    );
    return values.size ? [{ cell: Number(cell), values }] : [];
  });
  if (!rows.length) return nothing;
  rows.sort((a, b) => a.cell - b.cell);
  const squares: { x: number; y: number; deviation: number }[] = [];
  for (let x = 0; x < COLUMNS; x += 1) {
    const column = rows.flatMap(({ values }, y) => {
      const volts = values.get(x);
      return volts === undefined ? [] : [{ y, volts }];
    });
    const average = mean(column.map(({ volts }) => volts));
    squares.push(...column.map(({ y, volts }) => ({ x, y, deviation: volts - average })));
  }
  const largest = Math.max(LEAST, ...squares.map(({ deviation }) => Math.abs(deviation)));
  const first = rows[0]?.cell ?? 1;
  const last = rows.at(-1)?.cell ?? first;
  const label = words("heat_map_text", {
    cells: String(rows.length),
    spread: millivolts(hass, largest),
  });
  return html`<section class="heat-map" style="--rows: ${rows.length}">
    <span class="bar-head summary"
      ><span>${words("all_cells_24_h")}</span>
      <span class="value">${first} – ${last}, ± ${millivolts(hass, largest)}</span></span
    >
    <svg
      viewBox="0 0 ${COLUMNS} ${rows.length}"
      preserveAspectRatio="none"
      role="img"
      aria-label=${label}
    >
      ${squares.map(
        ({ x, y, deviation }) =>
          svg`<rect x=${x} y=${y} width="0.96" height="0.9" style=${colour(deviation / largest)}></rect>`,
      )}
    </svg>
  </section>`;
}

/** Blue is below the average, orange above it: told apart by everyone. */
function colour(fraction: number): string {
  const side = fraction < 0 ? "var(--low-cell)" : "var(--high-cell)";
  const share = Math.round(Math.abs(fraction) * 100);
  return `fill: color-mix(in srgb, ${side} ${share}%, var(--secondary-background-color))`;
}
