import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";

const FOLDER = new URL("../../custom_components/jk_bms/frontend/", import.meta.url);
const FIXED = ["jk-bms.js", "main.js"];
/** Loaded when a bank is shown, a cell balanced, a dashboard made, a card edited or a heat map opened. */
const ON_DEMAND = /^(bank|beam|dashboard|editor|heat-map)-/;

test.each([
  ["60 kB", (file: Buffer) => file.length, 60_000],
  ["20 kB compressed", (file: Buffer) => gzipSync(file, { level: 9 }).length, 20_480],
])("every page loads at most %s: entry, main module and a language", (_name, measure, most) => {
  const sizes = readdirSync(FOLDER)
    .filter((name) => !ON_DEMAND.test(name))
    .map((name) => ({
      fixed: FIXED.includes(name),
      size: measure(readFileSync(new URL(name, FOLDER))),
    }));
  const fixed = sizes.filter((file) => file.fixed).reduce((sum, { size }) => sum + size, 0);
  const languages = sizes.filter((file) => !file.fixed).map(({ size }) => size);
  expect(fixed + Math.max(...languages)).toBeLessThanOrEqual(most);
});
