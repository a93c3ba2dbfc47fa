import { setTimeout as pause } from 'node:timers/promises'

/**
 * Asks again until there is an answer that is not undefined.
 *
 * @throws Error saying what was waited for, after `limitMs`
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | Promise<T | undefined>,
  limitMs = 20_000
): Promise<T> {
  const end = performance.now() + limitMs
  for (;;) {
    const found = await ask()
    if (found !== undefined) return found
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`)
    await pause(10)
  }
}
