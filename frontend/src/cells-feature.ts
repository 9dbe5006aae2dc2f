/** `jk-bms-cells-feature`: the cells as a strip within a tile of one of their sensors. */
import { html, nothing, unsafeCSS, type TemplateResult } from "lit";

import type { Battery } from "./batteries.ts";
import featureStyles from "./cells-feature.css";
import { BatteriesElement } from "./element.ts";
import type { Hass } from "./hass.ts";
import { Memory, buildModel, millivolts, windowOf } from "./model.ts";
import { CELLS_FEATURE } from "./tags.ts";

interface Context {
  readonly entity_id?: string;
}

const SUPPORTED = new Set(["delta_cell_voltage", "state_of_charge"]);

/** Return whether the tile shows the spread or the charge of a battery. */
export function supportsCells(hass: Hass, { entity_id }: Context): boolean {
  const entity = entity_id === undefined ? undefined : hass.entities[entity_id];
  return entity?.platform === "jk_bms" && SUPPORTED.has(entity.translation_key ?? "");
}

export class CellsFeature extends BatteriesElement {
  static override styles = unsafeCSS(featureStyles);
  static override properties = { context: {} };
  declare context: Context | undefined;

  static getStubConfig(): unknown {
    return { type: `custom:${CELLS_FEATURE}` };
  }

  setConfig(): void {
    // It has no options.
  }

  protected override get shown(): readonly Battery[] {
    const id = this.context?.entity_id;
    return (this.store?.batteries ?? []).filter(({ entities }) =>
      Object.values(entities).includes(id),
    );
  }

  override render(): TemplateResult | typeof nothing {
    const [battery] = this.shown;
    if (!this.hass || !battery || !this.ready) return nothing;
    const live = this.store?.live[battery.device_id];
    const { cells, spread } = buildModel(this.hass, battery, live, new Memory());
    if (spread === undefined) return nothing;
    const window = windowOf(cells);
    const marked = cells.flatMap(({ name, text, lowest, highest }) =>
      lowest || highest ? `${name}: ${text}` : [],
    );
    const label = `${this.words("spread")} ${millivolts(this.hass, spread)}. ${marked.join(". ")}`;
    return html`<div class="strip" role="img" aria-label=${label}>
      ${cells.map(
        ({ deviation, lowest, highest }) =>
          html`<span
            class=${lowest ? "lowest" : highest ? "highest" : ""}
            style="--size: ${50 + (50 * deviation) / window}%"
          ></span>`,
      )}
    </div>`;
  }
}
