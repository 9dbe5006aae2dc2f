/** Numbers, times and durations in the user's format, for what has no entity of its own. */
import type { Hass } from "./hass.ts";

type Formatting = Pick<Hass, "locale" | "config">;

const NUMBER_LOCALES: Readonly<Record<string, readonly string[] | undefined>> = {
  comma_decimal: ["en-US"],
  decimal_comma: ["de"],
  space_comma: ["fr"],
  quote_decimal: ["de-CH"],
};

function numberLocale({ locale }: Formatting): readonly string[] | undefined {
  if (locale.number_format === "system") return undefined;
  return NUMBER_LOCALES[locale.number_format] ?? [locale.language];
}

export function formatNumber(
  hass: Formatting,
  value: number,
  digits: number,
  options: Intl.NumberFormatOptions = {},
): string {
  return new Intl.NumberFormat(numberLocale(hass) as string[] | undefined, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: hass.locale.number_format !== "none",
    ...options,
  }).format(value);
}

export function formatPercent(hass: Formatting, value: number): string {
  return formatNumber(hass, value / 100, 0, { style: "percent" });
}

/** Format s as hours and minutes: `2 h 10 min`. */
export function formatDuration(hass: Formatting, seconds: number): string {
  const part = (value: number, unit: string) =>
    new Intl.NumberFormat(hass.locale.language, {
      style: "unit",
      unit,
      unitDisplay: "short",
    }).format(value);
  const minutes = Math.max(1, Math.round(seconds / 60));
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days) return [part(days, "day"), ...(hours ? [part(hours, "hour")] : [])].join(" ");
  if (!hours) return part(minutes, "minute");
  const rest = minutes % 60;
  return [part(hours, "hour"), ...(rest ? [part(rest, "minute")] : [])].join(" ");
}

/** Format how long ago something was: `12 seconds ago`. */
export function formatAge(language: string, seconds: number): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  const age = Math.max(0, Math.round(seconds));
  if (age < 60) return format.format(-age, "second");
  if (age < 3600) return format.format(-Math.floor(age / 60), "minute");
  if (age < 86400) return format.format(-Math.floor(age / 3600), "hour");
  return format.format(-Math.floor(age / 86400), "day");
}

export function formatTime(hass: Formatting, time: Date): string {
  const { language, time_format, time_zone } = hass.locale;
  const hour12 = { "12": true, "24": false }[time_format];
  return new Intl.DateTimeFormat(time_format === "system" ? undefined : language, {
    hour: "numeric",
    minute: "2-digit",
    ...(hour12 === undefined ? {} : { hour12 }),
    ...(time_zone === "server" ? { timeZone: hass.config.time_zone } : {}),
  }).format(time);
}
