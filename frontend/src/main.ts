/** Defines the elements and lists them where Home Assistant looks for cards and dashboards. */
import { Age } from "./age.ts";
import { BatteryCard } from "./battery-card.ts";
import type { Hass } from "./hass.ts";
import { OverviewCard } from "./overview-card.ts";
import { DashboardEditor, DashboardStrategy } from "./strategy.ts";
import { BATTERY_CARD, DASHBOARD_EDITOR, OVERVIEW_CARD } from "./tags.ts";
import { currentWords, loadWords, type Word } from "./words.ts";

interface Listed {
  readonly type: string;
}

declare global {
  interface Window {
    customCards?: Listed[];
    customStrategies?: Listed[];
  }
}

const DOCUMENTATION = "https://github.com/jk-bms/ha-jk-bms#dashboard";

function define(tag: string, element: CustomElementConstructor): void {
  // `window`, since Home Assistant replaces the registry.
  if (!window.customElements.get(tag)) window.customElements.define(tag, element);
}

function list(list: Listed[], item: Listed): void {
  if (!list.some(({ type }) => type === item.type)) list.push(item);
}

/** Which words there are is not known yet: they are looked up when they are read. */
function texts(name: Word, description: Word) {
  return {
    get name() {
      return currentWords()(name);
    },
    get description() {
      return currentWords()(description);
    },
    documentationURL: DOCUMENTATION,
  };
}

// As Home Assistant does, until the user is known.
void loadWords(localStorage.getItem("selectedLanguage")?.replaceAll('"', "") ?? navigator.language);

define("jk-bms-age", Age);
define(BATTERY_CARD, BatteryCard);
define(OVERVIEW_CARD, OverviewCard);
define(DASHBOARD_EDITOR, DashboardEditor);
define("ll-strategy-dashboard-jk-bms", DashboardStrategy);

const cards = (window.customCards ??= []);
list(
  cards,
  Object.defineProperties(
    {
      type: BATTERY_CARD,
      preview: true,
      getEntitySuggestion(hass: Hass, entityId: string) {
        const entity = hass.entities[entityId];
        if (entity?.platform !== "jk_bms" || entity.device_id === undefined) return null;
        return { config: { type: `custom:${BATTERY_CARD}`, device_id: entity.device_id } };
      },
    },
    Object.getOwnPropertyDescriptors(texts("battery_card_name", "battery_card_description")),
  ),
);
list(
  cards,
  Object.defineProperties(
    { type: OVERVIEW_CARD, preview: true },
    Object.getOwnPropertyDescriptors(texts("overview_card_name", "overview_card_description")),
  ),
);
list(
  (window.customStrategies ??= []),
  Object.defineProperties(
    { type: "jk-bms", strategyType: "dashboard" },
    Object.getOwnPropertyDescriptors(texts("dashboard_name", "dashboard_description")),
  ),
);
