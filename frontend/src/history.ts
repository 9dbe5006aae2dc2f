/** The last day, as the recorder's statistics have it. */
import type { Hass } from "./hass.ts";

export interface Row {
  /** ms since 1970, where the hour (or the five minutes) begins. */
  readonly start: number;
  readonly mean?: number | null;
  readonly min?: number | null;
  readonly max?: number | null;
}

export type History = Readonly<Record<string, readonly Row[] | undefined>>;

export const DAY = 24 * 3600 * 1000;
/** Fewer hours than this do not make a graph. */
const ENOUGH = 3;

/** Return statistics of the last day by entity id; empty where there is no recorder. */
export async function fetchHistory(
  hass: Hass,
  entityIds: readonly string[],
  now = Date.now(),
): Promise<History> {
  if (!entityIds.length || !hass.config.components.includes("recorder")) return {};
  const ask = (period: "hour" | "5minute") =>
    hass.callWS<History>({
      type: "recorder/statistics_during_period",
      start_time: new Date(now - DAY).toISOString(),
      statistic_ids: entityIds,
      period,
      types: ["mean", "min", "max"],
      units: { voltage: "V" },
    });
  try {
    const hours = await ask("hour");
    // A battery that was just added has a history of minutes.
    return Object.values(hours).some((rows) => rows && rows.length >= ENOUGH)
      ? hours
      : await ask("5minute");
  } catch {
    return {};
  }
}

export interface Point {
  /** 0..1, from a day ago to now. */
  readonly x: number;
  readonly y: number;
}

/** Return the points of one kind, of the last day. */
export function points(
  rows: readonly Row[] | undefined,
  kind: "mean" | "min" | "max",
  now = Date.now(),
): Point[] {
  return (rows ?? []).flatMap((row) => {
    const [x, y] = [(row.start - now + DAY) / DAY, row[kind]];
    return typeof y === "number" && x >= 0 ? [{ x, y }] : [];
  });
}

/** Draw a line into a box of this size; `low` is at its bottom. */
export function path(
  line: readonly Point[],
  { low, high }: { readonly low: number; readonly high: number },
  [width, height]: readonly [number, number],
): string {
  const span = high - low || 1;
  return line
    .map(({ x, y }, index) => {
      const [left, top] = [x * width, height - ((y - low) / span) * height];
      return `${index ? "L" : "M"}${left.toFixed(1)} ${top.toFixed(1)}`;
    })
    .join("");
}
