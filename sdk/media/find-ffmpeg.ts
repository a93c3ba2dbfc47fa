import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { delimiter, dirname, isAbsolute, join } from 'node:path'
import { ExpertError } from '../errors.ts'
import type { MediaPolicy } from './media.ts'

/** Where the two programs are; each look-up throws EXP_MEDIA_NO_FFMPEG. */
export interface FfmpegPrograms {
  ffmpeg(): Promise<string>
  ffprobe(): Promise<string>
}

/**
 * Finds ffmpeg and ffprobe when they are first wanted: what the operator names, else what is beside
 * the other or on PATH, else what an installed package brings. What was found is kept, that nothing was found is not.
 *
 * @param env - whose PATH is searched
 */
export function findFfmpeg(
  policy: Pick<MediaPolicy, 'ffmpeg' | 'ffprobe'>,
  env: NodeJS.ProcessEnv = process.env
): FfmpegPrograms {
  const onPath = (env['PATH'] ?? '').split(delimiter).filter(isAbsolute)
  const kept = new Map<string, string>()
  const keep = async (name: string, find: () => Promise<string>) => {
    const path = kept.get(name) ?? (await find())
    kept.set(name, path)
    return path
  }
  const ffmpeg = () => keep('ffmpeg', () => find('ffmpeg', policy.ffmpeg, onPath))
  const ffprobe = async () => {
    // The two of one release: a hand-picked ffmpeg goes before what else PATH has.
    const beside = policy.ffprobe === null ? await ffmpeg().then(dirname, () => null) : null
    const folders = beside === null ? onPath : [beside, ...onPath]
    return keep('ffprobe', () => find('ffprobe', policy.ffprobe, folders))
  }
  return { ffmpeg, ffprobe }
}

async function find(
  program: 'ffmpeg' | 'ffprobe',
  named: string | null,
  folders: string[]
): Promise<string> {
  const variable = `${program.toUpperCase()}_PATH`
  const suffix = process.platform === 'win32' ? '.exe' : ''
  if (named !== null) {
    if (await isExecutable(named)) return named
    throw absent(`${variable} is '${named}', which is no program that can be run`)
  }
  for (const folder of folders) {
    const path = join(folder, program + suffix)
    if (await isExecutable(path)) return path
  }
  const packaged = `@${program}-installer/${program}`
  const path = pathOfPackage(packaged)
  if (path !== null && (await isExecutable(path))) return path
  const wanted = `apt-get install ffmpeg, or set ${variable}, or npm install ${packaged}`
  throw absent(`${program} is not on PATH, and video and sound need it: ${wanted}`)
}

function pathOfPackage(name: string): string | null {
  try {
    return createRequire(import.meta.url)(name).path
  } catch {
    return null
  }
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false
  )
}

function absent(message: string): ExpertError {
  return new ExpertError('EXP_MEDIA_NO_FFMPEG', message)
}
