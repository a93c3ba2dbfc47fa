import { execFile } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { startHost } from './support/start-host.ts'
import { until } from './support/until.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)]
const block = (language: string, words: RegExp): string => {
  const found = blocks.find(([, kind, text]) => kind === language && words.test(text as string))
  if (found === undefined) throw new Error(`README has no ${language} block with ${words}`)
  return found[2] as string
}
const lines = blocks.flatMap(([, , text]) => (text as string).split('\n'))
const curls = lines.filter((line) => line.startsWith('curl '))
const creates = lines.filter((line) => line.startsWith('npx nebula-experts create '))
const BIN = join(ROOT, 'host/bin/nebula-experts.js')

/** Sends what a curl line of the README says, with the parts of curl that the README uses. */
async function send(
  line: string,
  url: string
): Promise<{ status: number; json: unknown; text: string }> {
  const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(
    ([, quoted, word]) => quoted ?? word ?? ''
  )
  const target = words.find((word) => word.startsWith('localhost:8000')) as string
  const after = (option: string) => words[words.indexOf(option) + 1] as string
  const init: RequestInit = {}
  if (words.includes('--json')) {
    init.method = 'POST'
    init.headers = { 'content-type': 'application/json' }
    init.body = after('--json')
  }
  if (words.includes('-X')) init.method = after('-X')
  if (words.includes('-F')) {
    const [field, path] = after('-F').split('=@') as [string, string]
    const form = new FormData()
    form.append(field, await openAsBlob(join(ROOT, path)), basename(path))
    init.method = 'POST'
    init.body = form
  }
  const response = await fetch(target.replace('localhost:8000', url), init)
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json')
  return { status: response.status, json: isJson ? JSON.parse(text) : undefined, text }
}

t.test('the README’s curl lines are answered as it says', async (t) => {
  const { url, home } = await startHost(t, {
    files: {
      shout: {
        'package.json': block('json', /"name": "shout"/),
        'index.js': block('js', /class Shout/)
      }
    },
    config: { plugins_dir: ['./plugins', join(ROOT, 'plugins')] }
  })
  t.ok(curls.length >= 5 && creates.length === 2)
  for (const line of creates) {
    const words = line.split(' ').slice(2)
    const paths = words.map((word) => (word.startsWith('plugins/') ? join(ROOT, word) : word))
    await promisify(execFile)(process.execPath, [BIN, ...paths], { cwd: home })
    await until(`${words[1]} to be served`, async () => {
      const { json } = await send('curl localhost:8000/experts', url)
      const rows = json as { name: string; status: string }[]
      return rows.some(({ name, status }) => name === words[1] && status === 'ACTIVE') || undefined
    })
  }
  for (const line of curls) {
    const { status, json, text } = await send(line, url)
    t.equal(status, /\/(movies|pipelines)$/.test(line) ? 201 : 200, line)
    if (line.endsWith('/events')) t.match(text, /"status":"succeeded"/)
    if (line.includes('/items')) t.match(json, { items: Array(3).fill({ state: 'success' }) })
    if (line.includes('/read'))
      t.match(json, { error: null, result: [{ label: 'CORNER GROCERY' }] })
    if (line.includes('shout/shout')) t.same(json, { result: 'HELLO!', error: null })
    if (line.includes('/greet')) t.match(json, { error: null, result: /Ada/ })
    if (line.includes('my-model'))
      t.match(json, { task: 'embedding', inputs: [{ datatype: 'FP32' }] })
    if (line.includes('/embed')) t.match(json, { error: null, result: [{ embedding: Array }] })
    if (line.includes('is_async')) t.match(json, { jobId: /^[0-9a-f-]{36}$/ })
    if (line.endsWith('/experts')) t.match(json, [{ status: 'ACTIVE' }])
  }
})
