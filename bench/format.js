// @ts-check
/** What a figure is: `latency` and `cpu` in microseconds, `bytes`, or a `count`. @typedef {'latency' | 'cpu' | 'bytes' | 'count'} Kind */

/**
 * @param {number} value
 * @param {Kind} kind
 */
export function format(value, kind) {
  if (kind === 'count') return Math.round(value).toLocaleString('en-US');
  if (kind === 'bytes') return value < 1e6 ? `${digits(value / 1e3)} KB` : `${digits(value / 1e6)} MB`;
  return Math.abs(value) < 1e3 ? `${digits(value)} µs` : `${digits(value / 1e3)} ms`;
}

/** @param {number} value */
function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}
