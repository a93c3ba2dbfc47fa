import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { expertOf, listExperts, predict, untilTrue } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { keepCalling, versioned, writeFiles } from '../support/packages.ts'
import { makeHome, plugin, startHost } from '../support/start-host.ts'

async function untilServes(url: string, name: string): Promise<void> {
  await untilTrue(`${name} to serve`, async () => {
    const row = (await listExperts(url)).find((expert) => expert.name === name)
    return row?.status === 'ACTIVE'
  })
}

t.test('a package is dropped in, replaced in every way, and no call fails', async (t) => {
  const home = await makeHome(t)
  const { url } = await startHost(t, { home })
  const plugins = join(home, 'plugins')
  t.strictSame(await listExperts(url), [])

  await writeFiles(join(plugins, 'swapped'), versioned('swapped', '1'))
  await writeFiles(join(home, 'releases', '1'), versioned('linked', '1'))
  await symlink(join(home, 'releases', '1'), join(plugins, 'linked'))
  await untilServes(url, 'swapped')
  await untilServes(url, 'linked')

  let version = 1
  const inPlace = (name: string) => writeFiles(join(plugins, name), versioned(name, `${version}`))
  const byRename = async (name: string) => {
    const next = join(home, `next-${version}`)
    await writeFiles(next, versioned(name, `${version}`))
    await rename(join(plugins, name), join(home, `last-${version}`))
    await rename(next, join(plugins, name))
  }
  const byLink = async (name: string) => {
    const release = join(home, 'releases', `${version}`)
    await writeFiles(release, versioned(name, `${version}`))
    await symlink(release, join(home, 'link'))
    await rename(join(home, 'link'), join(plugins, name))
  }
  // After a rename the watch must still hear of what is written in place, and the other way round.
  const ways = {
    swapped: [inPlace, byRename, inPlace, byRename],
    linked: [byLink, inPlace, byLink]
  }
  for (const [name, replacements] of Object.entries(ways)) {
    const calling = keepCalling(t, url, name, 4)
    for (const replace of replacements) {
      version += 1
      await replace(name)
      await untilTrue(`version ${version} by ${replace.name}`, () =>
        calling.answers.has(`${version}`)
      )
    }
    await calling.stop()
    t.strictSame(calling.failures, [], `${name}: no call failed`)
    t.match(await expertOf(url, name), { version: `${version}`, status: 'ACTIVE', reason: null })
    t.equal((await predict(url, name, 'Movies/1')).json, `${version}`)
  }
})

t.test('what is still being written is not started, and delays no other', async (t) => {
  const { url, home } = await startHost(t, {
    files: { restless: versioned('restless', 'old') }
  })
  const plugins = join(home, 'plugins')
  const entry = join(plugins, 'growing', 'index.js')
  const parts = plugin('growing', 'async predict() { return globalThis.parts }')
  await mkdir(join(plugins, 'growing'))
  await writeFile(join(plugins, 'growing', 'package.json'), parts['package.json'] as string)
  await writeFile(entry, parts['index.js'] as string)
  await writeFiles(join(plugins, 'restless'), versioned('restless', 'new'))

  const calling = keepCalling(t, url, 'restless', 1)
  let written = 0
  let shown = 0
  for (const name of ['first', 'second', 'third']) {
    await writeFiles(join(plugins, name), versioned(name, '1'))
    await untilTrue(`${name} beside folders that never rest`, async () => {
      written += 1
      await appendFile(entry, `globalThis.parts = ${written}\n`)
      await appendFile(join(plugins, 'restless', 'index.js'), '\n')
      const rows = await listExperts(url)
      if (rows.some((expert) => expert.name === 'growing')) shown += 1
      return rows.some((expert) => expert.name === name && expert.status === 'ACTIVE')
    })
    t.equal((await predict(url, name, 'Movies/1')).json, '1')
  }
  t.equal(shown, 0, 'half of it was not even tried')
  t.strictSame([...calling.answers.keys()], ['old'], 'and the old one answered')
  await untilServes(url, 'growing')
  t.equal((await predict(url, 'growing', 'Movies/1')).json, written, 'all of it is served')
  await untilTrue('the new version', () => calling.answers.has('new'))
  await calling.stop()
  t.strictSame(calling.failures, [])
})

t.test('a package that is removed drains, is absent, and comes back', async (t) => {
  const latches = await makeLatches(t)
  const { url, home } = await startHost(t, {
    plugins: ['held-runs'],
    files: { entered: versioned('entered', '1') },
    config: { experts: { entered: { instances: 1 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const plugins = join(home, 'plugins')
  const running = predict(url, 'held-runs', 'under-way')
  await latches.started('under-way')
  await rename(join(plugins, 'held-runs'), join(home, 'held-runs'))
  await rename(join(plugins, 'entered'), join(home, 'entered'))
  await untilTrue('the drain', async () => {
    return (await expertOf(url, 'held-runs')).status === 'DRAINING'
  })
  t.match(await predict(url, 'held-runs', 'too-late'), {
    status: 404,
    json: { code: 'HOST_EXPERT_ABSENT', detail: /its package was removed/ }
  })
  await latches.release('under-way')
  t.match(await running, { status: 200, json: { result: 'released under-way' } })

  for (const [name, status, reason] of [
    ['held-runs', 'STOPPED', /its package was removed/],
    ['entered', 'WAITING', /waits for a plugin 'entered'/]
  ] as const) {
    await untilTrue(`${name} to be gone`, async () => {
      return (await expertOf(url, name)).status === status
    })
    const row = await expertOf(url, name)
    t.match(row.reason, reason)
    t.strictSame(row.instances, [], 'its process has ended')
    t.match(await predict(url, name, 'Movies/1'), {
      status: 404,
      json: { code: 'HOST_EXPERT_ABSENT', detail: reason }
    })
    await rename(join(home, name), join(plugins, name))
    await untilServes(url, name)
  }
  t.equal((await predict(url, 'entered', 'Movies/1')).json, '1')
  await latches.release('again')
  t.equal((await predict(url, 'held-runs', 'again')).json.result, 'released again')
})

t.test('a package that is away for a moment serves on', async (t) => {
  const { url, home } = await startHost(t, {
    files: { free: versioned('free', '1'), entered: versioned('entered', '1') },
    config: { experts: { entered: { instances: 1 } } }
  })
  const names = ['free', 'entered']
  const callings = names.map((name) => keepCalling(t, url, name, 1))
  for (const name of names) await rename(join(home, 'plugins', name), join(home, name))
  // Long enough to be noticed, shorter than the second after which a package counts as gone.
  await pause(600)
  for (const name of names) {
    await writeFiles(join(home, name), versioned(name, '2'))
    await rename(join(home, name), join(home, 'plugins', name))
  }
  for (const calling of callings) {
    await untilTrue('the new version', () => calling.answers.has('2'))
    await calling.stop()
    t.strictSame(calling.failures, [])
  }
})

t.test('where EXPERT_PLUGINS names them, others are shown and left alone', async (t) => {
  const { url, home } = await startHost(t, {
    files: { chosen: versioned('chosen', '1') },
    env: { EXPERT_PLUGINS: 'chosen,later' }
  })
  t.match(await expertOf(url, 'later'), { status: 'WAITING', reason: /'later'.*not there yet/ })
  const plugins = join(home, 'plugins')
  await writeFiles(join(plugins, 'other'), versioned('other', '1'))
  await writeFiles(join(plugins, 'later'), versioned('later', '1'))
  await untilServes(url, 'later')
  const row = await expertOf(url, 'other')
  t.match(row, { status: 'STOPPED', reason: /not named in EXPERT_PLUGINS/, instances: [] })
  t.match(await predict(url, 'other', 'Movies/1'), {
    status: 404,
    json: { code: 'HOST_EXPERT_ABSENT', detail: /not named in EXPERT_PLUGINS/ }
  })
  await rm(join(plugins, 'chosen'), { recursive: true })
  await untilTrue('the removal', async () => (await expertOf(url, 'chosen')).status === 'WAITING')
})

t.test('a package named by its path is followed where it lies', async (t) => {
  const elsewhere = await mkdtemp(join(tmpdir(), 'nebula-elsewhere-'))
  t.teardown(() => rm(elsewhere, { recursive: true, force: true }))
  // A folder of that name above it is no reason to look away.
  const folder = join(elsewhere, 'node_modules', 'mine')
  await writeFiles(folder, versioned('mine', 'first'))
  const { url } = await startHost(t, { env: { EXPERT_PLUGINS: folder } })
  t.equal((await predict(url, 'mine', 'Movies/1')).json, 'first')
  await writeFiles(folder, versioned('mine', 'second'))
  await untilTrue('the second version', async () => {
    return (await predict(url, 'mine', 'Movies/1')).json === 'second'
  })
})
