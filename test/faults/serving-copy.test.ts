import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, pidOf, predict, untilTrue } from '../support/experts.ts'
import { plugin, spawnHost, startHost } from '../support/start-host.ts'

const speaker = plugin(
  'speaker',
  'async predict() { return word }',
  "import { word } from './lib/word.js'"
)
const word = (text: string) => `export const word = ${JSON.stringify(text)}\n`

async function killAndWait(url: string, name: string): Promise<void> {
  const pid = await pidOf(url, name)
  process.kill(pid, 'SIGKILL')
  await untilTrue('the restart', async () => {
    const { status, instances } = await expertOf(url, name)
    return status === 'ACTIVE' && instances[0]?.pid !== undefined && instances[0].pid !== pid
  })
}

t.test('a process restarts as the version that was started', async (t) => {
  const { url, home } = await startHost(t, {
    files: { speaker: { ...speaker, 'lib/word.js': word('one') } }
  })
  t.equal((await predict(url, 'speaker', 'Movies/1')).json, 'one')
  const folder = join(home, 'plugins', 'speaker')
  await writeFile(join(folder, 'lib', 'word.js'), word('two'))
  await writeFile(join(folder, 'index.js'), 'this is no JavaScript')
  await killAndWait(url, 'speaker')
  t.equal((await predict(url, 'speaker', 'Movies/1')).json, 'one', 'its folder was overwritten')
  await rm(folder, { recursive: true })
  await killAndWait(url, 'speaker')
  t.equal((await predict(url, 'speaker', 'Movies/1')).json, 'one', 'its folder was deleted')
})

t.test(
  'hosts without a store on disk share a data folder, in one process and in two',
  async (t) => {
    const files = { speaker: { ...speaker, 'lib/word.js': word('one') } }
    const store = { NEBULA_STORE: 'memory' }
    const first = await startHost(t, { files, env: store })
    const env = { ...store, NEBULA_DATA_DIR: join(first.home, 'data') }
    const options = { home: first.home, env }
    const second = await startHost(t, options)
    const third = await spawnHost(t, options)
    const urls = [first.url, second.url, third.url]
    const folders = await readdir(join(first.home, 'data', 'run'))
    t.equal(folders.length, 3)
    for (const url of urls) await killAndWait(url, 'speaker')
    for (const url of urls) t.equal((await predict(url, 'speaker', 'Movies/1')).json, 'one')
    await second.host.stop()
    process.kill(third.child.pid as number, 'SIGTERM')
    await third.exited
    await killAndWait(first.url, 'speaker')
    t.equal((await predict(first.url, 'speaker', 'Movies/1')).json, 'one')
    t.equal((await readdir(join(first.home, 'data', 'run'))).length, 1)
  }
)

t.test('what a killed host left is removed at the next start', async (t) => {
  const killed = await spawnHost(t, {
    files: { speaker: { ...speaker, 'lib/word.js': word('one') } }
  })
  const root = join(killed.home, 'data', 'run')
  const [left] = await readdir(root)
  process.kill(killed.child.pid as number, 'SIGKILL')
  await killed.exited
  t.strictSame(await readdir(root), [left], 'it could not tidy up')
  // Of hosts on other machines: one that lives, one that has been silent for long.
  const now = new Date()
  const long = new Date(now.getTime() - 3600_000)
  for (const [name, time] of [
    ['elsewhere_1_00000000', now],
    ['elsewhere_2_00000000', long]
  ] as const) {
    await mkdir(join(root, name))
    await writeFile(join(root, name, 'alive'), '')
    await utimes(join(root, name, 'alive'), time, time)
  }
  // Is just being made by another host, which has not come to say that it lives.
  const fresh = `${hostname()}_1_00000000`
  await mkdir(join(root, fresh))
  await startHost(t, { home: killed.home })
  const found = await readdir(root)
  t.notOk(found.includes(left as string))
  t.ok(found.includes('elsewhere_1_00000000'))
  t.notOk(found.includes('elsewhere_2_00000000'))
  t.ok(found.includes(fresh))
  t.equal(found.length, 3)
})

t.test('imports resolve as they do in the folder of the plugin', async (t) => {
  const library = (name: string, text: string) => ({
    [`node_modules/${name}/package.json`]: JSON.stringify({
      name,
      type: 'module',
      main: 'index.js'
    }),
    [`node_modules/${name}/index.js`]: `export default ${JSON.stringify(text)}\n`
  })
  const importing = (name: string) =>
    plugin(
      name,
      'async predict() { return [own, shared, top] }',
      "import own from 'own'\nimport shared from 'shared'\nimport top from 'top'"
    )
  const { url, home } = await startHost(t, {
    files: {
      // `shared` is in both places: the nearest has the last word.
      importer: {
        ...importing('importer'),
        ...library('own', 'its own'),
        ...library('shared', 'near')
      }
    },
    prepare: async (home) => {
      for (const [name, text] of Object.entries({
        ...library('shared', 'far'),
        ...library('top', 'far')
      })) {
        await mkdir(join(home, name, '..'), { recursive: true })
        await writeFile(join(home, name), text)
      }
    }
  })
  t.match(await expertOf(url, 'importer'), { status: 'ACTIVE', reason: null })
  t.strictSame((await predict(url, 'importer', 'Movies/1')).json, ['its own', 'near', 'far'])
  await rm(join(home, 'plugins', 'importer', 'index.js'))
  await killAndWait(url, 'importer')
  t.strictSame((await predict(url, 'importer', 'Movies/1')).json, ['its own', 'near', 'far'])
})

t.test('what an expert keeps and what it does not', async (t) => {
  const { url, home } = await startHost(t, {
    files: {
      keeper: plugin(
        'keeper',
        `async predict(params, context) {
          writeFileSync(context.tmp + '/scratch', 'x')
          writeFileSync(context.cache + '/weights', 'x')
          return { tmp: context.tmp, cache: context.cache, cwd: process.cwd(), secret: process.env.NEBULA_ADMIN_KEY ?? null }
        }`,
        "import { writeFileSync } from 'node:fs'"
      )
    },
    env: { NEBULA_ADMIN_KEY: 'the key of the house' }
  })
  const { tmp, cache, cwd, secret } = (await predict(url, 'keeper', 'Movies/1')).json
  t.equal(secret, null, 'the host keeps its secrets')
  t.ok(cwd.startsWith(join(home, 'data', 'run')), 'it works in the copy')
  const isGone = (folder: string) =>
    readdir(folder).then(
      () => false,
      () => true
    )
  await untilTrue('the end of the folder of the job', () => isGone(tmp))
  await killAndWait(url, 'keeper')
  t.strictSame(await readdir(cache), ['weights'], 'its cache outlives its process')
})
