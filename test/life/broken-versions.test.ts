import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, pidOf, predict, untilTrue } from '../support/experts.ts'
import { keepCalling, versioned, writeFiles } from '../support/packages.ts'
import { call, startHost } from '../support/start-host.ts'

const answers = "async predict() { return 'bad' }"
const bad = (name: string, body: string) => versioned(name, 'bad', body)

/** What is copied over a good version, and what must stand in the reason. */
const broken: Record<string, { files: Record<string, string>; reason: RegExp }> = {
  syntax: { files: bad('syntax', 'async predict( { return 1 }'), reason: /index\.js:4/ },
  init: {
    files: bad('init', `async init() { throw new Error('no model') }\n${answers}`),
    reason: /no model/
  },
  schema: {
    files: bad(
      'schema',
      `static params = { type: 'object', properties: { word: { type: 'string', pattern: '^(?=a)a' } } }\n${answers}`
    ),
    reason: /\/properties\/word\/pattern/
  },
  exits: { files: bad('exits', 'static { process.exit(3) }'), reason: /exited with code 3/ },
  entry: {
    files: {
      'package.json': versioned('entry', 'bad')['package.json']!.replace('index.js', 'gone.js')
    },
    reason: /gone\.js is not there/
  },
  // Its folder has another name than the expert: it must still be known whose version this is.
  manifest: { files: { 'package.json': '{ "name": "manifest", ' }, reason: /package\.json.*JSON/ }
}
const folderOf = (name: string) => `folder-of-${name}`

t.test('a broken version never takes the place of a good one', async (t) => {
  const names = Object.keys(broken)
  const { url, home } = await startHost(t, {
    files: Object.fromEntries(names.map((name) => [folderOf(name), versioned(name, 'good')]))
  })
  const callings = names.map((name) => keepCalling(t, url, name, 1))
  for (const [name, { files }] of Object.entries(broken)) {
    await writeFiles(join(home, 'plugins', folderOf(name)), files)
  }
  for (const [name, { reason }] of Object.entries(broken)) {
    await untilTrue(`the reason of ${name}`, async () => {
      return (await expertOf(url, name)).reason !== null
    })
    const row = await expertOf(url, name)
    t.match(row, { status: 'ACTIVE', version: 'good', reason: /the old one serves on/ }, name)
    t.match(row.reason, reason)
    t.equal(row.instances.length, 1)
  }
  // Nothing of what failed stays on the disk.
  const [run] = await readdir(join(home, 'data', 'run'))
  for (const name of names) {
    const copies = await readdir(join(home, 'data', 'run', run as string, 'serving', name))
    t.equal(copies.length, 1, `one copy of ${name}: ${copies}`)
  }
  for (const calling of callings) {
    await calling.stop()
    t.strictSame(calling.failures, [])
    t.strictSame([...calling.answers.keys()], ['good'])
  }

  for (const [name, { reason }] of Object.entries(broken)) {
    const pid = await pidOf(url, name)
    process.kill(pid, 'SIGKILL')
    await untilTrue(`the good ${name} to be back`, async () => {
      const { status, instances } = await expertOf(url, name)
      return status === 'ACTIVE' && instances[0]?.pid !== undefined && instances[0].pid !== pid
    })
    t.equal((await predict(url, name, 'Movies/1')).json, 'good', name)
    t.match((await expertOf(url, name)).reason, reason, 'and it still says why')
  }

  for (const name of names) {
    await writeFiles(join(home, 'plugins', folderOf(name)), versioned(name, 'mended'))
  }
  for (const name of names) {
    await untilTrue(`the mended ${name}`, async () => {
      return (await predict(url, name, 'Movies/1')).json === 'mended'
    })
    t.match(await expertOf(url, name), { status: 'ACTIVE', version: 'mended', reason: null })
  }
})

t.test('a package that claims a name which is served does not get it', async (t) => {
  const { url, home } = await startHost(t, { files: { zebra: versioned('owned', 'first') } })
  // Its folder comes first by name.
  await writeFiles(join(home, 'plugins', 'aardvark'), versioned('owned', 'second'))
  const claims = async () => {
    const rows = (await call(`${url}/experts`, 'GET')).json as Array<{ reason: string | null }>
    return (
      rows.find(({ reason }) => /its name is taken by .*zebra/.test(reason ?? '')) !== undefined
    )
  }
  await untilTrue('the claim to be shown', claims)
  t.equal((await predict(url, 'owned', 'Movies/1')).json, 'first')
})
