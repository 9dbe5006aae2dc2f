/** The dashboard that is made from the batteries there are, each time that it is opened. */
import { batteryStore, type Battery } from "./batteries.ts";
import type { Config } from "./dashboard.ts";
import type { Hass } from "./hass.ts";
import { DASHBOARD_EDITOR } from "./tags.ts";
import { currentWords, loadWords } from "./words.ts";

/** ms that a battery which was just added has for its entities. */
const PATIENCE = 3000;

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
    const [batteries, words, { makeDashboard }] = await Promise.all([
      currentBatteries(hass),
      loadWords(hass.language),
      import("./dashboard.ts"),
    ]);
    return makeDashboard(batteries, words);
  }
}

/** Return the batteries once the devices that Home Assistant shows are among them. */
async function currentBatteries(hass: Hass): Promise<readonly Battery[]> {
  const store = batteryStore(hass.connection);
  const wanted = devicesOf(hass);
  return new Promise((resolve) => {
    let timer: number | undefined = undefined;
    const finish = () => {
      window.clearTimeout(timer);
      queueMicrotask(() => unsubscribe());
      resolve(store.batteries ?? []);
    };
    const isCurrent = () => {
      const titles = new Map(store.batteries?.map(({ device_id, title }) => [device_id, title]));
      return Object.entries(wanted).every(([id, name]) => titles.get(id) === name);
    };
    const unsubscribe = store.subscribe(() => {
      if (store.failed || isCurrent()) finish();
    });
    timer = window.setTimeout(finish, PATIENCE);
  });
}
