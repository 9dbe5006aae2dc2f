/** "12 sec. ago": an element of its own, so that the card is not rendered every second. */
import { LitElement } from "lit";

import { formatAge } from "./format.ts";

export class Age extends LitElement {
  static override properties = { time: {}, language: {} };
  declare time: string;
  declare language: string;
  #timer: number | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#timer = window.setInterval(() => this.requestUpdate(), 1000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.clearInterval(this.#timer);
  }

  override render(): string {
    return formatAge(this.language, (Date.now() - Date.parse(this.time)) / 1000);
  }
}
