/** `jk-bms-beam`: the way of the balanced charge, drawn over the bars of the cells before it. */
import css from "./beam.css";

export class Beam extends HTMLElement {
  /** Places of the two bars, from 0. */
  static readonly observedAttributes = ["from", "to"];
  readonly #observer = new ResizeObserver(() => this.#draw());

  connectedCallback(): void {
    this.ariaHidden = "true";
    this.#observer.observe(this);
  }

  disconnectedCallback(): void {
    this.#observer.disconnect();
  }

  attributeChangedCallback(): void {
    if (this.isConnected) this.#draw();
  }

  #draw(): void {
    const bars = this.previousElementSibling?.querySelectorAll(".track");
    const { left, top } = this.getBoundingClientRect();
    const [from, to] = Beam.observedAttributes.map((end) => {
      const box = bars?.[Number(this.getAttribute(end))]?.getBoundingClientRect();
      return box && { x: box.x - left + box.width / 2, y: box.y - top + box.height / 2 };
    });
    // A last piece of no length would turn the tip.
    const down = from && to && from.y !== to.y ? `V${to.y}` : "";
    const way = from && to ? `M${from.x} ${from.y}H${to.x}${down}` : "";
    this.innerHTML = `<style>${css}</style><svg>
      <marker id="tip" viewBox="0 0 6 6" refX="4" refY="3" markerWidth="6" orient="auto">
        <path d="M0 0L6 3L0 6z"></path>
      </marker>
      <path class="way" d="${way}" marker-end="url(#tip)"></path>
    </svg>`;
  }
}

if (!window.customElements.get("jk-bms-beam")) window.customElements.define("jk-bms-beam", Beam);
