/** Defines the elements and lists them where Home Assistant looks for cards and dashboards. */
import { Age } from "./age.ts";
import { BatteryCard } from "./battery-card.ts";
import { CellsFeature, supportsCells } from "./cells-feature.ts";
import type { Hass } from "./hass.ts";
import { OverviewCard } from "./overview-card.ts";
import { DashboardEditor, DashboardStrategy } from "./strategy.ts";
import { BATTERY_CARD, CELLS_FEATURE, DASHBOARD_EDITOR, OVERVIEW_CARD } from "./tags.ts";
import { currentWords, loadWords, type Word } from "./words.ts";

interface Listed {
  readonly type: string;
  readonly [more: string]: unknown;
}

declare global {
  interface Window {
    customCards?: Listed[];
    customCardFeatures?: Listed[];
    customStrategies?: Listed[];
  }
}

const DOCUMENTATION = "https://github.com/jk-bms/ha-jk-bms#dashboard";

function define(tag: string, element: CustomElementConstructor): void {
  // `window`, since Home Assistant replaces the registry.
  if (!window.customElements.get(tag)) window.customElements.define(tag, element);
}

/** List an element; which words there are is not known yet, so they are looked up when read. */
function list(list: Listed[], type: string, [name, description]: readonly Word[], more = {}): void {
  if (list.some((each) => each.type === type)) return;
  list.push({
    type,
    ...more,
    get name() {
      return name && currentWords()(name);
    },
    get description() {
      return description && currentWords()(description);
    },
    documentationURL: DOCUMENTATION,
  });
}

// As Home Assistant does, until the user is known.
void loadWords(localStorage.getItem("selectedLanguage")?.replaceAll('"', "") ?? navigator.language);

define("jk-bms-age", Age);
define(BATTERY_CARD, BatteryCard);
define(OVERVIEW_CARD, OverviewCard);
define(CELLS_FEATURE, CellsFeature);
define(DASHBOARD_EDITOR, DashboardEditor);
define("ll-strategy-dashboard-jk-bms", DashboardStrategy);

const cards = (window.customCards ??= []);
list(cards, BATTERY_CARD, ["battery_card_name", "battery_card_description"], {
  preview: true,
  getEntitySuggestion(hass: Hass, entityId: string) {
    const entity = hass.entities[entityId];
    if (entity?.platform !== "jk_bms" || entity.device_id === undefined) return null;
    return { config: { type: `custom:${BATTERY_CARD}`, device_id: entity.device_id } };
  },
});
list(cards, OVERVIEW_CARD, ["overview_card_name", "overview_card_description"], { preview: true });
list((window.customCardFeatures ??= []), CELLS_FEATURE, ["cells"], {
  isSupported: supportsCells,
});
list((window.customStrategies ??= []), "jk-bms", ["dashboard_name", "dashboard_description"], {
  strategyType: "dashboard",
});
