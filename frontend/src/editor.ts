/** The form in which the battery card is set up; only the editor of a dashboard loads it. */
import type { Part } from "./battery-card.ts";
import type { Word, Words } from "./words.ts";

/** The parts of the card, and how the form calls them. */
const PARTS: Readonly<Record<Part, Word>> = {
  charge: "part_charge",
  values: "part_values",
  cells: "cells",
  history: "history",
  states: "part_states",
  link: "part_link",
};

export function configForm(words: Words): unknown {
  const options = Object.entries(PARTS).map(([value, word]) => ({ value, label: words(word) }));
  return {
    schema: [
      {
        name: "device_id",
        required: true,
        selector: { device: { filter: [{ integration: "jk_bms" }] } },
      },
      { name: "parts", selector: { select: { multiple: true, reorder: true, options } } },
    ],
    computeLabel: ({ name }: { readonly name: string }) =>
      words(name === "parts" ? "parts" : "battery"),
  };
}
