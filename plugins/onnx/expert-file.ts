import { readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { ExpertError, isExpertError, type Static, type TSchema, Type } from '@nebula-experts/sdk'
import { compileSchema } from '@nebula-experts/sdk/schemas'

const MAX_BYTES = 1024 * 1024
const closed = { additionalProperties: false }
const Values = (description: string) =>
  Type.Optional(Type.Union([Type.Number(), Type.Array(Type.Number())], { description }))
const Side = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: 16_384, description }))

/** How a picture becomes the model's input. */
const PictureSettings = Type.Object(
  {
    name: Type.Optional(Type.String({ description: 'Of the input; default: the only one' })),
    width: Side('Pixels, where the model leaves it open'),
    height: Side('Pixels, where the model leaves it open'),
    fit: Type.Optional(Type.Enum(['stretch', 'letterbox', 'crop'], { default: 'stretch' })),
    layout: Type.Optional(Type.Enum(['NCHW', 'NHWC'], { description: 'Default: as the axes say' })),
    channel_order: Type.Optional(Type.Enum(['RGB', 'BGR'], { default: 'RGB' })),
    scale: Type.Optional(Type.Number({ description: 'Factor of the bytes; default: 1' })),
    mean: Values('Taken off after the scale; one, or one a channel. Default: 0'),
    std: Values('Divides what is left; one, or one a channel. Default: 1'),
    background: Values('Around a letterboxed picture, 0 to 255; one, or red, green and blue')
  },
  closed
)
export type PictureSettings = Static<typeof PictureSettings>

const ExpertFile = Type.Object(
  {
    $schema: Type.Optional(Type.String()),
    expert: Type.Optional(Type.String({ description: 'Name to serve under; default: the folder' })),
    version: Type.Optional(Type.String({ minLength: 1 })),
    description: Type.Optional(Type.String()),
    task: Type.Optional(
      Type.Enum(['classification', 'detection', 'embedding', 'segmentation'], {
        description: 'What a picture is answered with; without it, tensors alone are served'
      })
    ),
    input: Type.Optional(PictureSettings),
    labels: Type.Optional(
      Type.Union([Type.Array(Type.String()), Type.String()], {
        description: 'Names of the classes in order, or a file beside this one with one a line'
      })
    ),
    decoder: Type.Optional(
      Type.Object({ type: Type.Optional(Type.String()) }, { additionalProperties: true })
    )
  },
  closed
)

/** What `expert.json` says; the labels read, the decoder's own keys still to be checked. */
export interface ExpertSettings extends Omit<Static<typeof ExpertFile>, 'labels' | 'decoder'> {
  labels: string[] | null
  decoder: Record<string, unknown>
}

/** The pictures' tasks. */
export type Task = NonNullable<ExpertSettings['task']>

const checkFile = compileSchema<Static<typeof ExpertFile>>(ExpertFile, { unknownKeys: 'keep' })

/**
 * Reads and checks `expert.json`.
 *
 * @param path - null for a model that has none
 * @throws ExpertError EXP_MODEL naming every wrong key with its path
 */
export async function readExpertFile(path: string | null): Promise<ExpertSettings> {
  if (path === null) return { labels: null, decoder: {} }
  const { labels, decoder, ...settings } = checkKeys(checkFile, await readJson(path), [])
  if (settings.task === undefined) {
    const needless = Object.entries({ input: settings.input, labels, decoder })
    const found = needless.filter(([, value]) => value !== undefined).map(([key]) => key)
    if (found.length > 0) {
      throw wrong(`${found.join(', ')}: of use only with a task, and there is none`)
    }
  }
  return { ...settings, labels: await readLabels(labels, path), decoder: decoder ?? {} }
}

/**
 * Checks a part of `expert.json` by a schema of its own.
 *
 * @throws ExpertError EXP_MODEL naming every wrong key with its path
 */
export function checkPart<S extends TSchema>(
  schema: S,
  value: unknown,
  place: string[]
): Static<S> {
  return checkKeys(
    compileSchema<Static<S>>(schema, { unknownKeys: 'keep' }),
    value,
    place
  ) as Static<S>
}

function checkKeys<T>(check: ReturnType<typeof compileSchema<T>>, value: unknown, place: string[]) {
  const checked = check(value, place)
  if (checked.issues === undefined) return checked.value
  throw wrong(checked.issues.map(({ loc, msg }) => `${loc.join('.') || 'all'}: ${msg}`).join('; '))
}

async function readJson(path: string): Promise<unknown> {
  let found: unknown
  try {
    found = JSON.parse(await readBounded(path))
  } catch (error) {
    if (isExpertError(error)) throw error
    const { code, message } = error as NodeJS.ErrnoException
    throw wrong(code === undefined ? `is not JSON (${message})` : `cannot be read (${code})`)
  }
  if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found
  throw wrong('wanted an object')
}

async function readLabels(
  labels: string[] | string | undefined,
  path: string
): Promise<string[] | null> {
  if (typeof labels !== 'string') return labels ?? null
  const folder = dirname(path)
  const file = resolve(folder, labels)
  try {
    // Whoever may drop a model in is not to show every file that the host's user can read.
    const way = relative(await realpath(folder), await realpath(file))
    if (isAbsolute(way) || way.split(sep)[0] === '..')
      throw wrong(`labels: '${labels}' leads out of its folder, wanted a file beside it`)
    const text = await readBounded(file)
    return text.replace(/\r?\n$/, '').split(/\r?\n/)
  } catch (error) {
    if (isExpertError(error)) throw error
    const { code } = error as NodeJS.ErrnoException
    throw wrong(`labels: file '${labels}' cannot be read (${code})`)
  }
}

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > MAX_BYTES)
    throw wrong(`${basename(path)} has ${size} bytes, wanted at most ${MAX_BYTES}`)
  return readFile(path, 'utf8')
}

function wrong(why: string): ExpertError {
  return new ExpertError('EXP_MODEL', `expert.json: ${why}`)
}
