import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { predict } from './experts.ts'
import { plugin } from './start-host.ts'

/** A plugin of that version whose predictions answer the version, unless `body` says otherwise. */
export function versioned(
  name: string,
  version: string,
  body = `async predict() { return '${version}' }`,
  before?: string
): Record<string, string> {
  const files = plugin(name, body, before)
  const manifest = { ...JSON.parse(files['package.json'] as string), version }
  return { ...files, 'package.json': JSON.stringify(manifest) }
}

/** Writes files in place, one after another, as a copying program does. */
export async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
}

/** Replaces a file in one step, as editors do. */
export async function renameOver(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

export interface Calling {
  /** Answers by what they said. */
  answers: Map<string, number>
  /** What was not 200. */
  failures: string[]
  /** Lets the last calls end. */
  stop(): Promise<void>
}

/** Sends predictions to an expert all the while, each caller one after another. */
export function keepCalling(t: Test, url: string, name: string, callers = 3): Calling {
  let isCalling = true
  const answers: Calling['answers'] = new Map()
  const failures: string[] = []
  const work = async () => {
    while (isCalling) {
      const outcome = await predict(url, name, 'Movies/1').catch((error: Error) => error)
      if (outcome instanceof Error) failures.push(String(outcome.cause ?? outcome))
      else if (outcome.status !== 200) failures.push(`${outcome.status} ${outcome.text}`)
      else answers.set(outcome.json, (answers.get(outcome.json) ?? 0) + 1)
    }
  }
  const all = Promise.all(Array.from({ length: callers }, work))
  const stop = async () => {
    isCalling = false
    await all
  }
  t.teardown(stop)
  return { answers, failures, stop }
}
