import { mkdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { makeStillMovie, skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { buildLibrary, LosablePower } from '../support/lost-power.js'
import { randomFrom } from '../support/random-from.js'
import { call, makeHome, spawnHost } from '../support/start-host.ts'

// The first time all folders are new, the second time only those of a key.
const LOSSES = ['synced', 'synced', 'names', 'torn'] as const
const isLinux = process.platform === 'linux'
const skip = isLinux ? skipWithout('cc') || skipWithout('ffmpeg') : 'needs Linux'
const plugins = fileURLToPath(new URL('../../plugins/', import.meta.url))
const seed = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 32))
const random = randomFrom(seed)
// In the title, which is printed whatever fails.
const title = `the power goes (CHAOS_SEED=${seed}): movies and frames that documents name are there`

t.test(title, { skip }, async (t) => {
  const home = await realpath(
    await makeHome(t, {
      // The library is loaded into the host alone: there it sees what the expert syncs.
      config: { experts: { videoprocessing: { runtime: 'inline' } } }
    })
  )
  const [state, kept] = [join(home, 'state'), join(home, 'kept')]
  for (const folder of [state, kept]) await mkdir(folder)
  const power = new LosablePower(state, kept, (await buildLibrary(home)) as string)
  const stills = ['large-headline', 'light-on-dark'].map((name) =>
    join(plugins, `ocr/test/fixtures/${name}.png`)
  )
  const sources = stills.map((_, index) => join(home, `${index}.mp4`))
  for (const [index, path] of sources.entries()) {
    const still = stills.slice(index, index + 1)
    await makeStillMovie(path, { stills: still, seconds: 1, width: 160, height: 90 })
  }
  const env = {
    ...power.env,
    EXPERT_PLUGINS: join(plugins, 'videoprocessing'),
    EXPERT_FILE_ROOTS: home,
    NEBULA_DATA_DIR: join(state, 'data')
  }
  const answered = new Map<string, Buffer[]>()
  const filesOf = async (url: string, key: string) => {
    const { json } = await call(`${url}/movies/${key}`, 'GET')
    const paths: string[] = [json.url_path, ...json.mdfs_path]
    t.equal(paths.length, 4)
    return Promise.all(paths.map((path) => readFile(path)))
  }
  for (let starts = 0; starts <= LOSSES.length; starts++) {
    const host = await spawnHost(t, { home, env })
    for (const [key, files] of answered) {
      t.ok(isSame(await filesOf(host.url, key), files), `movie ${key} after ${starts} losses`)
    }
    // A new movie, and anew the one before.
    for (const key of [starts + 1, starts].filter((key) => key > 0)) {
      const source = sources[(starts + key) % 2] as string
      const body = { movies: [{ movie_id: `${key}`, url: pathToFileURL(source).href }] }
      const { json } = await call(`${host.url}/experts/videoprocessing/process/movies`, 'POST', {
        ...body,
        overwrite: true
      })
      t.match(json.results, [{ error: null }])
      const files = await filesOf(host.url, `${key}`)
      t.ok(isSame(files.slice(0, 1), [await readFile(source)]), 'its own file')
      answered.set(`${key}`, files)
    }
    host.child.kill('SIGKILL')
    await host.exited
    const kind = LOSSES[starts]
    if (kind !== undefined) power.lose(kind, random)
  }
})

function isSame(found: Buffer[], wanted: Buffer[]): boolean {
  return found.length === wanted.length && found.every((one, place) => one.equals(wanted[place]!))
}
