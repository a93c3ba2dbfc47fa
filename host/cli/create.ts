import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { LEGAL_NAME } from '../registry/plugin-source.ts'
import { EXIT_FAILED } from './exit-codes.ts'
import { expertTemplate } from './expert-template.ts'

/**
 * Writes the folder of a new expert, which a running host serves as it is.
 * @param folder - its last part is the expert's name; a bare name is put into `plugins/`
 */
export async function create(folder: string): Promise<void> {
  const path = /[/\\]/.test(folder) ? resolve(folder) : resolve('plugins', folder)
  const name = path.slice(dirname(path).length + 1)
  if (!LEGAL_NAME.test(name)) {
    fail(`'${name}' is no name of an expert: wanted a letter or digit, then those and . _ -`)
    return
  }
  const shown = relative('', path)
  try {
    await mkdir(dirname(path), { recursive: true })
    await mkdir(path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    fail(code === 'EEXIST' ? `${shown} is there already` : message)
    return
  }
  for (const [file, text] of Object.entries(expertTemplate(name))) {
    await mkdir(dirname(join(path, file)), { recursive: true })
    await writeFile(join(path, file), text)
  }
  process.stdout.write(
    `${shown} is an expert now. A host that watches ${relative('', dirname(path)) || '.'} serves it in a moment; ` +
      `without one: npx nebula-experts serve ./${shown}\n`
  )
}

function fail(message: string): void {
  process.stderr.write(`${message}\n`)
  process.exitCode = EXIT_FAILED
}
