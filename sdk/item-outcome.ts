/**
 * What `processMovie` answers: an object, or the pair of the older pipelines. `error` is any JSON value;
 * absent, null and the empty text are none.
 */
export type ItemAnswer = { ok: boolean; error?: unknown } | readonly [ok: boolean, error?: unknown]

/** How a movie ended in a task; `error` says why when it failed. */
export interface ItemOutcome {
  ok: boolean
  error: string | null
}

const MAX_ERROR_TEXT = 16_384

/** A movie succeeded when `ok` is true and there is no error; all else is a failure. */
export function itemOutcome(answer: unknown): ItemOutcome {
  const { ok, error } = partsOf(answer)
  if (typeof ok !== 'boolean') {
    return failed(
      `processMovie answered ${shown(answer)}, which is neither { ok, error } nor a pair of them`
    )
  }
  const isError = error !== undefined && error !== null && error !== ''
  if (isError) return failed(textOf(error))
  return ok ? { ok, error: null } : failed('processMovie answered ok: false and no error')
}

/** A movie whose `processMovie` threw. */
export function thrownOutcome(error: unknown): ItemOutcome {
  return failed(textOf(error) || 'processMovie threw nothing')
}

function partsOf(answer: unknown): { ok?: unknown; error?: unknown } {
  if (typeof answer !== 'object' || answer === null) return {}
  if (!Array.isArray(answer)) return answer
  return answer.length <= 2 ? { ok: answer[0], error: answer[1] } : {}
}

function failed(error: string): ItemOutcome {
  return { ok: false, error: error.slice(0, MAX_ERROR_TEXT) }
}

function textOf(error: unknown): string {
  if (typeof error === 'string') return error
  const message = (error as { message?: unknown } | null | undefined)?.message
  return typeof message === 'string' && message !== '' ? message : shown(error)
}

/** Never throws: what is shown may be anything. */
function shown(value: unknown): string {
  try {
    return JSON.stringify(value)?.slice(0, 200) ?? typeof value
  } catch {
    return `what is no JSON: ${typeof value}`
  }
}
