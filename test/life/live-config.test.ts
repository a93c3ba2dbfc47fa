import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, predict, untilTrue } from '../support/experts.ts'
import { keepCalling, renameOver, versioned, writeFiles } from '../support/packages.ts'
import { plugin, spawnHost } from '../support/start-host.ts'

const worded = plugin(
  'worded',
  `static config = { type: 'object', properties: { WORD: { type: 'string', default: 'none' } } }
  async predict() { return this.config.WORD }`
)

t.test('the configuration file is followed while the host runs', async (t) => {
  const host = await spawnHost(t, {
    files: { worded },
    config: { experts: { worded: { env: { WORD: 'one' } } } }
  })
  const { url, home } = host
  const path = join(home, 'experts.config.json')
  const config = (experts: object) => JSON.stringify({ plugins_dir: ['./plugins'], experts })
  const calling = keepCalling(t, url, 'worded')
  const answers = (word: string) => untilTrue(word, () => calling.answers.has(word))
  await answers('one')

  await writeFile(path, config({ worded: { env: { WORD: 'two' }, instances: 2 } }))
  await answers('two')
  const { instances } = await expertOf(url, 'worded')
  t.equal(new Set(instances.map(({ pid }) => pid)).size, 2, 'two processes of their own')

  // Editors write another file and rename it over the old one; the watch must hear of the next, too.
  await renameOver(path, config({ worded: { env: { WORD: 'three' } } }))
  await answers('three')
  await renameOver(path, config({ worded: { env: { WORD: 'four' } } }))
  await answers('four')
  t.equal((await expertOf(url, 'worded')).instances.length, 1)

  const refused = (line: Record<string, unknown>) => /the old one stands/.test(String(line.msg))
  // In one step: half a write would be another thing that is wrong.
  await renameOver(path, '{ "experts": { "worded": ')
  t.match(await host.line(refused), {
    level: 'error',
    problems: [/experts\.config\.json: is not JSON/]
  })
  await writeFiles(join(home, 'plugins', 'beside'), versioned('beside', '1'))
  await untilTrue('a plugin beside a broken file', async () => {
    return (await predict(url, 'beside', 'Movies/1')).status === 200
  })
  t.equal(host.lines.filter(refused).length, 1, 'what is wrong is said once')
  await writeFile(path, config({ worded: { instances: 'many' } }))
  await host.line((line) => refused(line) && /worded\/instances/.test(String(line.problems)))
  t.equal((await predict(url, 'worded', 'Movies/1')).json, 'four', 'the old settings stand')

  await writeFile(
    path,
    config({
      worded: { env: { WORD: 'five' } },
      second: { package: 'worded', env: { WORD: 'another' } },
      absent: { env: {} }
    })
  )
  await answers('five')
  await untilTrue('the new entry', async () => {
    return (await predict(url, 'second', 'Movies/1')).json === 'another'
  })
  t.match(await expertOf(url, 'absent'), { status: 'WAITING', reason: /'absent'.*not there yet/ })
  await writeFiles(join(home, 'plugins', 'absent'), versioned('absent', 'came'))
  await untilTrue('what was waited for', async () => {
    return (await predict(url, 'absent', 'Movies/1')).json === 'came'
  })

  await writeFile(path, config({ worded: { env: { WORD: 'five' } } }))
  await untilTrue('the end of the entry', async () => {
    return (await expertOf(url, 'second')).status === 'STOPPED'
  })
  await calling.stop()
  t.strictSame(calling.failures, [], 'no call failed meanwhile')
})
