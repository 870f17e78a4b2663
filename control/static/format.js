// How facts read. Amounts arrive as decimal strings; what is unknown arrives as null and reads as a dash.

export const NOTHING = "–";

const isUnknown = (value) => value === null || value === undefined || value === "";

/** Digits behind the point that show a price of this size to six figures. */
export function digitsOf(price) {
  const size = Math.abs(Number(price));
  return size > 0 ? Math.min(10, Math.max(0, 5 - Math.floor(Math.log10(size)))) : 2;
}

export function number(value, digits = 2) {
  if (isUnknown(value) || !Number.isFinite(Number(value))) return NOTHING;
  const text = Number(value).toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return text.replace("-", "−");
}

/** A price with as many digits as *like*, so that the prices of one row stand one below the other. */
export const price = (value, like = value) => number(value, digitsOf(like));

/** With its sign, zero without. */
export function signed(value, digits = 2) {
  const text = number(value, digits);
  return Number(value) > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** A result, and whether funding is still missing in it. */
export const earned = (pnl, missesFunding) => (missesFunding ? `${signed(pnl)} before funding` : signed(pnl));

const inPercent = (read) => (fraction, digits = 2) =>
  isUnknown(fraction) || !Number.isFinite(Number(fraction)) ? NOTHING : `${read(Number(fraction) * 100, digits)} %`;

export const percent = inPercent(number);

export const signedPercent = inPercent(signed);

/** An amount as it came, grouped: quantities have as many digits as they have. */
export function exact(value) {
  if (isUnknown(value)) return NOTHING;
  const [whole, rest] = String(value).split(".");
  const grouped = whole.replace("-", "−").replace(/\B(?=(\d{3})+$)/g, ",");
  return rest ? `${grouped}.${rest}` : grouped;
}

export function short(value) {
  if (isUnknown(value)) return NOTHING;
  const size = Number(value);
  for (const [unit, name] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) if (size >= unit) return number(size / unit, 1) + name;
  return number(size, 0);
}

export const gainTone = (value) => (Number(value) > 0 ? "good" : Number(value) < 0 ? "bad" : "");

export const words = (value) => (isUnknown(value) ? NOTHING : String(value).replaceAll("_", " "));

/** 0.4 s, 12 s, 3 min, 2 h 05, 3 d 4 h */
export function span(seconds) {
  if (isUnknown(seconds) || !Number.isFinite(seconds)) return NOTHING;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${String(minutes % 60).padStart(2, "0")}` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The time of day in UTC, as the log says it; the date too when it is another day. */
export function when(iso, now = new Date()) {
  if (isUnknown(iso)) return NOTHING;
  const text = new Date(iso).toISOString();
  const day = text.slice(0, 10);
  return day === now.toISOString().slice(0, 10) ? text.slice(11, 19) : `${day.slice(5)} ${text.slice(11, 16)}`;
}

export const milliseconds = (value) =>
  isUnknown(value) ? NOTHING : number(value, value < 10 ? 2 : value < 100 ? 1 : 0);
