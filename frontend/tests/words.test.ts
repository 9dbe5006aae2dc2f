import { readdirSync } from "node:fs";
import { expect, test } from "vitest";

import en from "../src/words/en.json" with { type: "json" };
import { LANGUAGES, loadWords, wordsOf, type Texts } from "../src/words.ts";

const english = Object.entries(en);
const languages = Object.entries(LANGUAGES);

function placeholders(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "").sort();
}

test("are there in every language of the integration", () => {
  const translations = new URL("../../custom_components/jk_bms/translations/", import.meta.url);
  const stems = readdirSync(translations).map((name) => name.replace(".json", ""));
  expect(new Set(languages.map(([code]) => code))).toEqual(new Set([...stems, "pt"]));
});

test.each(languages)("%s has the same words with the same placeholders", async (_code, load) => {
  const texts: Texts | undefined = (await load?.())?.default;
  expect(Object.keys(texts ?? {}).sort()).toEqual(Object.keys(en).sort());
  for (const [key, text] of english) {
    const translated = texts?.[key as keyof Texts] ?? "";
    expect(translated.trim(), key).toBe(translated);
    expect(translated, key).not.toBe("");
    expect(placeholders(translated), key).toEqual(placeholders(text));
  }
});

test("of a dialect are those of its language, of an unknown one English", async () => {
  expect((await loadWords("de-CH"))("cells")).toBe("Zellen");
  expect((await loadWords("pt"))("cells")).toBe("Células");
  expect((await loadWords("ar"))("cells")).toBe("Cells");
});

test("take their placeholders", () => {
  expect(wordsOf(en)("cell", { cell: "7" })).toBe("Cell 7");
});
