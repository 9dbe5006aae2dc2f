/** What both cards have in common: when they render, and where their data come from. */
import { LitElement } from "lit";

import { batteryStore, offerReload, type Battery, type BatteryStore } from "./batteries.ts";
import type { Hass, Localize } from "./hass.ts";
import { currentWords, loadWords, type Words } from "./words.ts";

/** Loaded once per page and language; names of alarms, sentences about the link. */
const translations = new Map<string, Promise<Localize>>();

async function loadTranslations(hass: Hass): Promise<Localize> {
  let loading = translations.get(hass.language);
  if (!loading) {
    loading = hass
      .loadBackendTranslation("entity", "jk_bms")
      .then(() => hass.loadBackendTranslation("exceptions", "jk_bms"))
      .catch(() => () => "");
    translations.set(hass.language, loading);
  }
  return loading;
}

export abstract class BatteriesElement extends LitElement {
  protected store: BatteryStore | undefined;
  protected words: Words = currentWords();
  protected localize: Localize = () => "";
  /** All words are there: nothing is shown in English, or by its key, first. */
  protected ready = false;
  #hass: Hass | undefined;
  #language = "";
  #unsubscribe: (() => void) | undefined;
  #observer: IntersectionObserver | undefined;

  get hass(): Hass | undefined {
    return this.#hass;
  }

  /** Home Assistant sets this whenever anything changes; most of it is not shown here. */
  set hass(hass: Hass) {
    const before = this.#hass;
    this.#hass = hass;
    if (hass.language !== this.#language) this.#speak(hass);
    if (this.isConnected) this.#subscribe();
    if (!before || this.#isAffected(before, hass)) this.requestUpdate();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#subscribe();
    // Nothing moves and no history is fetched while nobody can see it.
    this.#observer = new IntersectionObserver((entries) => {
      const visible = entries.at(-1)?.isIntersecting ?? false;
      this.toggleAttribute("visible", visible);
      if (visible) this.whenVisible();
    });
    this.#observer.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#observer?.disconnect();
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  /** The batteries whose entities are shown. */
  protected abstract get shown(): readonly Battery[];

  protected whenVisible(): void {
    // For those that fetch more than states.
  }

  #subscribe(): void {
    if (this.#unsubscribe || !this.#hass) return;
    this.store = batteryStore(this.#hass.connection);
    this.#unsubscribe = this.store.subscribe(() => {
      this.requestUpdate();
      if (this.hasAttribute("visible")) this.whenVisible();
      offerReload(this, this.store?.version, {
        message: this.words("update_installed"),
        reload: this.words("reload"),
      });
    });
  }

  #speak(hass: Hass): void {
    this.#language = hass.language;
    void Promise.all([loadWords(hass.language), loadTranslations(hass)]).then(
      ([words, localize]) => {
        this.words = words;
        this.localize = localize;
        this.ready = true;
        this.requestUpdate();
      },
    );
  }

  #isAffected(before: Hass, after: Hass): boolean {
    return (
      before.language !== after.language ||
      before.locale !== after.locale ||
      // Names, precision and units.
      before.formatEntityState !== after.formatEntityState ||
      this.shown.some((battery) =>
        Object.values(battery.entities).some(
          (id) => id !== undefined && before.states[id] !== after.states[id],
        ),
      )
    );
  }
}
