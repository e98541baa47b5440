// Numbers and times as people read them.

export const NOTHING = '–';

export function number(value, digits = 4) {
  if (value === null || value === undefined) return NOTHING;
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return Number(value.toPrecision(digits)).toString();
}

export function seconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value < 1) return `${number(value * 1000, 3)} ms`;
  return value < 100 ? `${number(value, 3)} s` : duration(value);
}

export function duration(value) {
  if (value === null || value === undefined || !(value >= 0)) return NOTHING;
  const s = Math.round(value), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (d > 0) return `${d} d ${h % 24} h`;
  if (h > 0) return `${h} h ${String(m % 60).padStart(2, '0')} min`;
  return m > 0 ? `${m} min ${String(s % 60).padStart(2, '0')} s` : `${s} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  for (; value >= 1000 && unit + 1 < units.length; ++unit) value /= 1000;
  return `${number(value, 3)} ${units[unit]}`;
}

export function percent(value) {
  return value === null || value === undefined ? NOTHING : `${number(value * 100, 3)} %`;
}

// A line that was meant for a terminal: without its colours, and what it wrote last where it wrote over itself.
export function plain(line) {
  let shown = line.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '');
  while (shown.endsWith('\r')) shown = shown.slice(0, -1);
  return shown.slice(shown.lastIndexOf('\r') + 1).replace(/[\x00-\x08\x0b-\x1f\x7f]/g, '\ufffd');
}

export function clock(wallUs) {
  const date = new Date(wallUs / 1000);
  const time = date.toLocaleTimeString([], {hour12: false});
  return date.toDateString() === new Date().toDateString() ? time : `${date.toISOString().slice(0, 10)} ${time}`;
}
