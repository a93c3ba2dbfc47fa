import { accessSync, appendFileSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * For tests that need a program which npm does not bring: a runner's `skip` option.
 *
 * @param program - its name on `PATH`
 * @returns false when it is there; otherwise `needs <program>`, the reason to skip
 * @throws Error when it is not there and `NEBULA_TEST_ALL` is set, as where everything is installed first
 * @example
 * ```ts
 * t.test('reads a film', { skip: skipWithout('ffmpeg') }, async (t) => { … })
 * ```
 */
export function skipWithout(program: string): false | string {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  if (folders.some((folder) => isExecutable(join(folder, program)))) return false
  if (process.env['NEBULA_TEST_ALL']) {
    throw new Error(`'${program}' is not on PATH, and NEBULA_TEST_ALL wants every test run`)
  }
  // Counted by who runs all tests, to say at the end what did not run.
  const list = process.env['NEBULA_TEST_SKIPPED']
  if (list !== undefined) appendFileSync(list, `${program}\n`)
  return `needs ${program}`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
