/** The dashboard that is made from the batteries there are, each time that it is opened. */
import { batteryStore } from "./batteries.ts";
import type { Config } from "./dashboard.ts";
import type { Hass } from "./hass.ts";
import { DASHBOARD_EDITOR } from "./tags.ts";
import { currentWords, loadWords } from "./words.ts";

/** Return our devices and their names. */
function devicesOf(hass: Hass): Record<string, string> {
  const names: Record<string, string> = {};
  for (const entity of Object.values(hass.entities)) {
    if (entity?.platform !== "jk_bms" || entity.device_id === undefined) continue;
    const device = hass.devices[entity.device_id];
    names[entity.device_id] = device?.name_by_user ?? device?.name ?? "";
  }
  return names;
}

/** What stands where other dashboards have a form. */
export class DashboardEditor extends HTMLElement {
  setConfig(): void {
    this.textContent = currentWords()("dashboard_editor");
  }
}

export class DashboardStrategy extends HTMLElement {
  static readonly registryDependencies = ["devices", "entities"];

  static shouldRegenerate(_config: unknown, before: Hass, after: Hass): boolean {
    return JSON.stringify(devicesOf(before)) !== JSON.stringify(devicesOf(after));
  }

  /** Without an element, Home Assistant's editor would complain; its menu has "Take control". */
  static getConfigElement(): HTMLElement {
    return document.createElement(DASHBOARD_EDITOR);
  }

  static getCreateSuggestions(): Config {
    return { title: currentWords()("all_batteries"), icon: "mdi:home-battery" };
  }

  static async generate(_config: unknown, hass: Hass): Promise<Config> {
    const [words, { currentBatteries, makeDashboard }] = await Promise.all([
      loadWords(hass.language),
      import("./dashboard.ts"),
    ]);
    const store = batteryStore(hass.connection);
    const batteries = await currentBatteries(store, devicesOf(hass));
    return makeDashboard(batteries, words, hass.devices);
  }
}
