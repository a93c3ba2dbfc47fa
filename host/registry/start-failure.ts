/**
 * Says why a package could not be started, in words its author can act on.
 *
 * @param folder - the serving copy, whose path means nothing to the reader
 */
export function describeStartFailure(error: Error, folder: string): string {
  const message = error.message.replaceAll(folder, '.').replaceAll('file://./', './')
  const missing = /Cannot find package '([^']+)'/.exec(message)
  if (missing !== null) {
    const name = missing[1]?.includes('/node_modules/') ? missing[1].split('/node_modules/').pop() : missing[1]
    return `it needs the package '${name}', which is not installed: run "npm install ${name}" in its folder`
  }
  const place = placeOf(error.stack ?? '', folder)
  return place === null ? message : `${message} (${place})`
}

/** The first line of the package's own files in a stack, or of a syntax error. */
function placeOf(stack: string, folder: string): string | null {
  for (const line of stack.split('\n')) {
    const at = line.indexOf(folder)
    if (at === -1) continue
    const place = /^\/?([^\s)]+:\d+)/.exec(line.slice(at + folder.length))
    if (place?.[1] !== undefined) return place[1]
  }
  return null
}
