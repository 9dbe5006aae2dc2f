/** All cells over the last day, coloured by how far each is from the average of its hour. */
import type { TemplateResult, html, svg } from "lit";

import css from "./heat-map.css";
import type { Point } from "./history.ts";
import type { Words } from "./words.ts";

/** One cell and its voltages of the last day. */
interface Line {
  readonly cell: number;
  readonly line: readonly Point[];
}

/** Not shared with the main module, which loads this one only when a heat map is opened. */
interface Kit {
  readonly html: typeof html;
  readonly svg: typeof svg;
  readonly words: Words;
  readonly millivolts: (volts: number) => string;
  readonly time: (time: Date) => string;
}

/** Half of the colour scale, in V, at least: less than this is no difference. */
const LEAST = 0.01;
const COLUMNS = 24;

/** Hours ago whose time stands below the map. */
const MARKS = [24, 12, 0];

/** Return the map, `undefined` if no cell has a history. */
export function heatMap(kit: Kit, lines: readonly Line[]): TemplateResult | undefined {
  const { html, svg } = kit;
  const rows = lines
    .filter(({ line }) => line.length)
    .map(({ cell, line }) => ({
      cell,
      values: new Map(line.map(({ x, y }) => [Math.floor(x * COLUMNS), y])),
    }));
  if (!rows.length) return undefined;
  const squares: { x: number; y: number; deviation: number }[] = [];
  for (let x = 0; x < COLUMNS; x += 1) {
    const column = rows.flatMap(({ values }, y) => {
      const volts = values.get(x);
      return volts === undefined ? [] : [{ y, volts }];
    });
    const average = column.reduce((sum, { volts }) => sum + volts, 0) / column.length;
    squares.push(...column.map(({ y, volts }) => ({ x, y, deviation: volts - average })));
  }
  const largest = Math.max(LEAST, ...squares.map(({ deviation }) => Math.abs(deviation)));
  const spread = kit.millivolts(largest);
  const now = Date.now();
  return html`<style>
      ${css}
    </style>
    <section class="heat-map" style="--rows: ${rows.length}">
      <span class="bar-head summary"
        ><span>${kit.words("all_cells_24_h")}</span> <span class="value">± ${spread}</span></span
      >
      <span class="ends numbers"
        ><span>${rows[0]?.cell}</span><span>${rows.at(-1)?.cell}</span></span
      >
      <svg
        viewBox="0 0 ${COLUMNS} ${rows.length}"
        preserveAspectRatio="none"
        role="img"
        aria-label=${kit.words("heat_map_text", { cells: String(rows.length), spread })}
      >
        ${squares.map(
          ({ x, y, deviation }) =>
            svg`<rect x=${x} y=${y} width="0.96" height="0.9" style=${colour(deviation / largest)}></rect>`,
        )}
      </svg>
      <span class="ends"
        >${MARKS.map((hours) => html`<span>${kit.time(new Date(now - hours * 3_600_000))}</span>`)}</span
      >
    </section>`;
}

/** Blue is below the average, orange above it: told apart by everyone. */
function colour(fraction: number): string {
  const side = fraction < 0 ? "var(--indigo-color)" : "var(--orange-color)";
  const share = Math.round(Math.abs(fraction) * 100);
  return `fill: color-mix(in srgb, ${side} ${share}%, var(--secondary-background-color))`;
}
