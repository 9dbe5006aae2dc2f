import { expect, test } from "vitest";

import { formatAge, formatDuration, formatNumber, formatTime } from "../src/format.ts";
import { path, points } from "../src/history.ts";
import { makeHass } from "./home.ts";

const hass = makeHass({});

test.each([
  ["language", "3.328"],
  ["decimal_comma", "3,328"],
  ["comma_decimal", "3.328"],
])("numbers in the format %s", (number_format, text) => {
  const locale = { ...hass.locale, number_format };
  expect(formatNumber({ ...hass, locale }, 3.328, 3)).toBe(text);
});

test.each([
  [10, "1 min"],
  [600, "10 min"],
  [7200, "2 hr"],
  [7800, "2 hr 10 min"],
  [100_000, "1 day 3 hr"],
])("a duration of %d s", (seconds, text) => {
  expect(formatDuration(hass, seconds)).toBe(text);
});

test.each([
  [-3, "0 sec. ago"],
  [12.4, "12 sec. ago"],
  [90, "1 min. ago"],
  [7200, "2 hr. ago"],
  [200_000, "2 days ago"],
])("an age of %d s", (seconds, text) => {
  expect(formatAge("en", seconds)).toBe(text);
});

test("times are those of the server where the user wants them so", () => {
  expect(formatTime(hass, new Date("2026-11-28T12:02:00Z"))).toBe("13:02");
});

test("the last day becomes a line from left to right", () => {
  const now = Date.UTC(2026, 10, 28);
  const rows = [
    { start: now - 25 * 3_600_000, mean: 9 },
    { start: now - 24 * 3_600_000, mean: 1 },
    { start: now - 12 * 3_600_000, mean: null },
    { start: now - 6 * 3_600_000, mean: 3 },
  ];
  const line = points(rows, "mean", now);
  expect(line).toEqual([
    { x: 0, y: 1 },
    { x: 0.75, y: 3 },
  ]);
  expect(path(line, { low: 1, high: 3 }, [100, 40])).toBe("M0.0 40.0L75.0 0.0");
});
