import { placeOfSyntaxError } from './syntax-check.ts'

/**
 * Says why a package could not be started, in words its author can act on.
 *
 * @param folder - the serving copy, whose path means nothing to the reader
 */
export async function describeStartFailure(error: Error, folder: string): Promise<string> {
  const message = error.message.replaceAll(folder, '.').replaceAll('file://./', './')
  const missing = /Cannot find (?:package|module) '([^'.][^']*)'/.exec(message)?.[1]
  if (missing !== undefined && !missing.startsWith('/')) {
    const name = packageOf(missing.split('/node_modules/').at(-1) as string)
    return `it needs the package '${name}', which is not installed: run "npm install ${name}" in its folder`
  }
  const untold = /Unknown file extension "\.[cm]?tsx?" for (\S+)/.exec(message)?.[1]
  if (untold !== undefined) {
    return `${untold} is TypeScript, which this Node does not run: build it, and name the built file in "exports"`
  }
  const place = placeOf(error.stack ?? '', folder) ?? (await placeOfSyntaxError(error, folder))
  return place === null ? message : `${message} (${place})`
}

/** `@scope/name/deep/file.js` is a file of `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

/** The first line of the package's own files in a stack. */
function placeOf(stack: string, folder: string): string | null {
  for (const line of stack.split('\n')) {
    const at = line.indexOf(folder)
    if (at === -1) continue
    const place = /^\/?([^\s)]+:\d+)/.exec(line.slice(at + folder.length))
    if (place?.[1] !== undefined) return place[1]
  }
  return null
}
