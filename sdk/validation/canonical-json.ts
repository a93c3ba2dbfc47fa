/**
 * A text that two JSON values share exactly when they are equal, whatever the order of their keys.
 * It makes comparisons of many values linear.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join()}}`
}

/** True when no two items are equal. */
export function allDifferent(items: unknown[]): boolean {
  return new Set(items.map(canonicalJson)).size === items.length
}
