import { ExpertError } from '../errors.ts'

/** What may end a piece of work before it is done. */
export interface Deadline {
  /** What is worked on, for the message. */
  name: string
  timeoutMs: number
  /** The caller's own. */
  signal?: AbortSignal
}

/**
 * Runs work that must end when time is up or the caller gives up.
 *
 * It settles when `run` does, so that `run` has removed what it left on disk; `run` must therefore
 * heed its signal in everything it waits for.
 *
 * @throws ExpertError EXP_MEDIA_TIMEOUT, EXP_CANCELED
 */
export async function withDeadline<T>(
  { name, timeoutMs, signal }: Deadline,
  run: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const stop = new AbortController()
  const cancel = () => {
    const cause = signal?.reason
    stop.abort(new ExpertError('EXP_CANCELED', `${name} was cancelled`, { cause }))
  }
  const expire = () => {
    const message = `${name} was not complete after ${timeoutMs} ms`
    stop.abort(new ExpertError('EXP_MEDIA_TIMEOUT', message))
  }
  const timer = setTimeout(expire, timeoutMs)
  signal?.addEventListener('abort', cancel, { once: true })
  if (signal?.aborted) cancel()
  try {
    stop.signal.throwIfAborted()
    return await run(stop.signal)
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', cancel)
  }
}

/** Waits for what cannot be stopped itself, until the signal says to wait no longer. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
