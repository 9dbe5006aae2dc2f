/** The parts of Home Assistant's frontend that are used here. */

export interface HassEntity {
  readonly entity_id: string;
  readonly state: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly last_updated: string;
}

export interface EntityEntry {
  readonly entity_id: string;
  readonly device_id?: string;
  readonly platform: string;
  readonly translation_key?: string;
  readonly display_precision?: number;
}

export interface DeviceEntry {
  readonly id: string;
  readonly name: string | null;
  readonly name_by_user: string | null;
  readonly hw_version?: string | null;
  readonly sw_version?: string | null;
}

export interface Locale {
  readonly language: string;
  readonly number_format: string;
  readonly time_format: string;
  readonly time_zone: string;
}

export interface Connection {
  subscribeMessage<T>(
    callback: (event: T) => void,
    message: Readonly<Record<string, unknown>>,
  ): Promise<() => Promise<void>>;
}

export type Localize = (key: string, placeholders?: Readonly<Record<string, string>>) => string;

export interface Hass {
  readonly states: Readonly<Record<string, HassEntity | undefined>>;
  readonly entities: Readonly<Record<string, EntityEntry | undefined>>;
  readonly devices: Readonly<Record<string, DeviceEntry | undefined>>;
  readonly language: string;
  readonly locale: Locale;
  readonly config: { readonly time_zone: string; readonly components: readonly string[] };
  readonly connection: Connection;
  readonly localize: Localize;
  readonly user?: { readonly is_admin: boolean };
  loadBackendTranslation(category: string, integration: string): Promise<Localize>;
  formatEntityState(entity: HassEntity): string;
  formatEntityName(entity: HassEntity, type: { readonly type: "entity" }): string;
  callWS<T>(message: Readonly<Record<string, unknown>>): Promise<T>;
  callService(
    domain: string,
    service: string,
    data?: Readonly<Record<string, unknown>>,
    target?: { readonly entity_id: string },
  ): Promise<unknown>;
}

export interface GridOptions {
  columns: number | "full";
  min_columns: number;
  rows: number | "auto";
  min_rows: number;
}

/** Fire an event that Home Assistant's root element listens to. */
export function fire(target: EventTarget, type: string, detail: unknown): void {
  target.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
}

export function showMoreInfo(target: EventTarget, entityId: string): void {
  fire(target, "hass-more-info", { entityId });
}

/** Have Home Assistant run an action, with its own dialog where confirmation is asked for. */
export function runAction(target: EventTarget, tapAction: Readonly<Record<string, unknown>>): void {
  fire(target, "hass-action", { config: { tap_action: tapAction }, action: "tap" });
}
