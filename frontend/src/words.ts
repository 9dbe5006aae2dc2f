/** The card's own words. Names and states of entities are the integration's translations. */
import type en from "./words/en.json";

export type Word = keyof typeof en;
export type Texts = Readonly<Record<Word, string>>;
export type Words = (word: Word, placeholders?: Readonly<Record<string, string>>) => string;

type Load = () => Promise<{ readonly default: Texts }>;

const english: Load = () => import("./words/en.json");

/** A page loads one of them, by the codes of Home Assistant. */
export const LANGUAGES: Readonly<Record<string, Load | undefined>> = {
  cs: () => import("./words/cs.json"),
  de: () => import("./words/de.json"),
  en: english,
  es: () => import("./words/es.json"),
  fr: () => import("./words/fr.json"),
  it: () => import("./words/it.json"),
  ja: () => import("./words/ja.json"),
  nl: () => import("./words/nl.json"),
  pl: () => import("./words/pl.json"),
  "pt-BR": () => import("./words/pt-BR.json"),
  // Portuguese of elsewhere is closer than English.
  pt: () => import("./words/pt-BR.json"),
  sv: () => import("./words/sv.json"),
  tr: () => import("./words/tr.json"),
  uk: () => import("./words/uk.json"),
  "zh-Hans": () => import("./words/zh-Hans.json"),
};

export function wordsOf(texts: Texts): Words {
  return (word, placeholders = {}) =>
    texts[word].replace(/\{(\w+)\}/g, (match, name: string) => placeholders[name] ?? match);
}

let current: Words = (word) => word;

/** Return the words loaded last, for those who cannot wait. */
export function currentWords(): Words {
  return current;
}

/** Load the words of a language or of its parent (`de` of `de-CH`), else the English ones. */
export async function loadWords(language: string): Promise<Words> {
  const load = LANGUAGES[language] ?? LANGUAGES[language.split("-")[0] ?? ""] ?? english;
  return (current = wordsOf((await load()).default));
}
