import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

/** Files that are looked at; each costs the start of a process. */
const MAX_FILES = 30
const MAX_MS = 10_000

/**
 * Finds the file that does not parse, as `lib/model.js:12`: of an import that failed so, Node tells the
 * place to its stderr alone. Nothing of the package is run.
 */
export async function placeOfSyntaxError(error: Error, folder: string): Promise<string | null> {
  if (error.stack?.startsWith('SyntaxError') !== true) return null
  const end = performance.now() + MAX_MS
  for (const file of (await listScripts(folder)).slice(0, MAX_FILES)) {
    const line = performance.now() > end ? null : await firstWrongLine(file)
    if (line !== null) return `${relative(folder, file)}:${line}`
  }
  return null
}

async function listScripts(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && /\.[cm]?js$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !relative(folder, path).split(sep).includes('node_modules'))
    .sort((a, b) => a.split(sep).length - b.split(sep).length)
}

function firstWrongLine(file: string): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--check', file], { timeout: MAX_MS }, (_error, _out, told) => {
      const at = told.indexOf(`${file}:`)
      resolve(at === -1 ? null : (/^\d+/.exec(told.slice(at + file.length + 1))?.[0] ?? null))
    })
  })
}
