// Numbers as people read them.

const whole = new Intl.NumberFormat('en-US', {maximumFractionDigits: 0});
const three = new Intl.NumberFormat('en-US', {maximumSignificantDigits: 3});

// scaled writes n in the largest of the units that it reaches.
function scaled(n, step, units) {
  let i = 0;
  while (Math.abs(n) >= step && i < units.length - 1) {
    n /= step;
    i++;
  }
  const digits = Math.abs(n) >= 1000 ? whole.format(n) : three.format(n);
  return units[i] === '' ? digits : digits + '\u202f' + units[i];
}

// known is '–' for what there is no number of.
const known = (write) => (n) => n === null || n === undefined || !Number.isFinite(n) || n < 0 ? '–' : write(n);

export const count = known((n) => whole.format(n));
export const bytes = known((n) => scaled(n, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']));
export const rate = known((n) => scaled(n, 1000, ['', 'k', 'M', 'G']) + '/s');
export const byteRate = known((n) => scaled(n, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']) + '/s');
export const duration = known((ns) => scaled(ns, 1000, ['ns', 'µs', 'ms', 's']));

// property is the value of one of Kafka's properties, with the unit that its name
// ends in.
export function property(name, value) {
  if (value === '9223372036854775807' || value === '-1') return 'unlimited';
  if (value === '') return '–';
  if (/\.bytes$/.test(name)) return bytes(Number(value));
  if (!/\.ms$/.test(name)) return value;
  for (const [unit, length] of [['d', 86400e3], ['h', 3600e3], ['min', 60e3], ['s', 1e3]]) {
    if (value > 0 && value % length === 0) return `${whole.format(value / length)}\u202f${unit}`;
  }
  return `${whole.format(value)}\u202fms`;
}

const pad = (n, digits = 2) => String(n).padStart(digits, '0');

// time is the local time of ms since 1970, to the millisecond.
export function time(ms) {
  const d = new Date(ms);
  if (ms < 0 || Number.isNaN(d.getTime())) return '–';
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ` +
    `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
}

export function plural(n, one, many = one + 's') {
  return `${count(n)} ${n === 1 ? one : many}`;
}
