/**
 * The records that an answer of a prediction holds: the list under its `result`. Null when that is no list,
 * is empty, or has an entry that is no record; such an answer is nothing that could be saved.
 */
export function answeredRecords(answer: unknown): Record<string, unknown>[] | null {
  if (!isObject(answer) || !Array.isArray(answer.result)) return null
  const records: unknown[] = answer.result
  const areRecords = records.every((record) => isObject(record) && isRecord(record))
  return areRecords && records.length > 0 ? (records as Record<string, unknown>[]) : null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A token of a movie, of a picture, or as the image tokens are kept. */
function isRecord({ movie_id, image_id, id, type }: Record<string, unknown>): boolean {
  const named = [movie_id, image_id].some((name) => typeof name === 'string')
  return named || (typeof id === 'string' && (type === 'image' || type === 'frame'))
}
