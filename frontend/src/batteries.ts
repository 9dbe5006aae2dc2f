/** The batteries as the integration's websocket command describes them. */
import { fire, type Connection } from "./hass.ts";

export interface CellLimits {
  readonly undervoltage: number | null;
  readonly empty: number | null;
  readonly balance_start: number | null;
  /** A difference between cells, unlike the others. */
  readonly balance_trigger: number | null;
  readonly full: number | null;
  readonly overvoltage: number | null;
}

export interface Live {
  readonly available: boolean;
  readonly last_read: string | null;
  readonly resumes_at: string | null;
  readonly reason: {
    readonly key: string;
    readonly placeholders: Readonly<Record<string, string>>;
  } | null;
  /** Their names are `entity.binary_sensor.<fault>.name`. */
  readonly faults: readonly string[];
  readonly wire_resistance_cells: readonly number[];
  readonly cell_resistance: readonly (number | null)[];
  /** s. */
  readonly time_to_full: number | null;
  readonly time_to_empty: number | null;
  readonly total_runtime: number | null;
}

export interface Battery {
  readonly entry_id: string;
  readonly device_id: string;
  readonly title: string;
  /** Of its view of the dashboard. */
  readonly path: string;
  /** Entity ids by platform and key: `sensor.cell_voltage_7`. */
  readonly entities: Readonly<Record<string, string | undefined>>;
  readonly cell_count: number | null;
  readonly chemistry: string | null;
  readonly limits: CellLimits | null;
  readonly holds_link: boolean;
  /** Ids of the entries of the packs that a bank combines. */
  readonly packs: readonly string[];
}

interface BatteriesEvent {
  readonly version?: string;
  readonly batteries?: readonly Battery[];
  readonly live?: Readonly<Record<string, Live>>;
}

type Listener = () => void;

/** One subscription that all cards of a page share. */
export class BatteryStore {
  /** `undefined` until the first event has come. */
  batteries: readonly Battery[] | undefined;
  /** The batteries came with the present subscription, so that they are those of now. */
  fresh = false;
  live: Readonly<Record<string, Live | undefined>> = {};
  /** The integration does not know the command: it is not set up. */
  failed = false;
  version: string | undefined;

  readonly #connection: Connection;
  readonly #listeners = new Set<Listener>();
  #unsubscribe: Promise<(() => Promise<void>) | undefined> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Call the listener after each event, until the returned function is called. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    this.#unsubscribe ??= this.#connection
      .subscribeMessage<BatteriesEvent>((event) => this.#take(event), {
        type: "jk_bms/batteries",
      })
      .catch(() => {
        this.failed = true;
        this.#notify();
        return undefined;
      });
    return () => {
      this.#listeners.delete(listener);
      if (!this.#listeners.size) {
        void this.#unsubscribe?.then((unsubscribe) => unsubscribe?.()).catch(() => undefined);
        this.#unsubscribe = undefined;
        this.fresh = false;
      }
    };
  }

  #take(event: BatteriesEvent): void {
    this.failed = false;
    if (event.version !== undefined) this.version = event.version;
    if (event.batteries) {
      this.batteries = event.batteries;
      this.fresh = this.#listeners.size > 0;
    }
    // A list of batteries comes with all of their live values.
    this.live = event.batteries ? (event.live ?? {}) : { ...this.live, ...event.live };
    this.#notify();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

const stores = new WeakMap<Connection, BatteryStore>();

export function batteryStore(connection: Connection): BatteryStore {
  let store = stores.get(connection);
  if (!store) stores.set(connection, (store = new BatteryStore(connection)));
  return store;
}

let toastShown = false;

/** Offer a reload where the page still runs the code of another version; once per page. */
export function offerReload(
  target: EventTarget,
  installed: string | undefined,
  texts: { readonly message: string; readonly reload: string },
): void {
  const running = new URL(import.meta.url).searchParams.get("v");
  if (toastShown || !running || !installed || running.startsWith(`${installed}-`)) return;
  toastShown = true;
  fire(target, "hass-notification", {
    message: texts.message,
    duration: -1,
    dismissable: true,
    action: { text: texts.reload, action: () => location.reload() },
  });
}
