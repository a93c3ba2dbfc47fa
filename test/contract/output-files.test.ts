import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ended } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

/** Notes every run, and answers the id, or as many letters as are asked for. */
const author = plugin(
  'author',
  `
  static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }

  predict(params) {
    return this.#write(params)
  }

  predictImage(params) {
    return this.#write(params)
  }

  #write({ id, extra_params }) {
    appendFileSync(join(this.config.LATCH_DIR, 'runs'), id + '\\n')
    const { letters = 0, as } = extra_params ?? {}
    if (as === 'list') return [id, 'é']
    if (as === 'throw') throw new ExpertError('EXP_BAD_INPUT', 'no such thing')
    return { result: letters > 0 ? id.repeat(letters) : 'by ' + id + ' <é>', error: null }
  }`,
  `import { appendFileSync } from 'node:fs'
import { join } from 'node:path'`
)

async function serveAuthor(t: Test, options: { root?: string | null } = {}) {
  const latches = await makeLatches(t)
  const base = await mkdtemp(join(tmpdir(), 'nebula-output-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const outside = join(base, 'outside')
  const root = join(base, 'root')
  for (const folder of [root, outside]) await mkdir(folder)
  const { url } = await startHost(t, {
    files: { author },
    env: {
      LATCH_DIR: latches.dir,
      ...(options.root !== null && { EXPERT_OUTPUT_ROOT: options.root ?? root })
    }
  })
  const runs = async () => {
    const text = await readFile(join(latches.dir, 'runs'), 'utf8').catch(() => '')
    return text.split('\n').slice(0, -1)
  }
  return { url, base, root, outside, runs }
}

/** Each way to ask for an answer, with the output that is given. */
const waysTo = (
  id: string,
  output_file: unknown,
  more: Record<string, unknown> = {}
): Array<[string, Record<string, unknown>]> => {
  const shared = { output: 'file', output_file, ...more }
  return [
    ['/predict', { movie_id: id, local: false, ...shared }],
    ['/predict/movie', { movie_id: id, local: false, ...shared }],
    ['/predict/image', { image_id: id, url: 'u', ...shared }],
    [
      '/predict/images',
      {
        images: [
          { image_id: id, url: 'u' },
          { image_id: '2', url: 'u' }
        ],
        ...shared
      }
    ]
  ]
}

async function everyName(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort()
}

t.test('output "file" writes the answer to output_file', async (t) => {
  const { url, root, runs } = await serveAuthor(t)

  t.test('a synchronous answer: the very bytes of the body', async (t) => {
    for (const base of ['', '/experts/author']) {
      for (const [i, [path, body]] of waysTo('sync', null).entries()) {
        const name = `deep/er/${base.length}/${i} é.json`
        for (const output_file of [name, join(root, name), `./x/../${name}`]) {
          await rm(join(root, 'deep'), { recursive: true, force: true })
          const answer = await call(`${url}${base}${path}`, 'POST', { ...body, output_file })
          t.equal(answer.status, 200, `${base}${path} to ${output_file}`)
          t.match(answer.text, /by sync <é>/)
          t.equal(await readFile(join(root, name), 'utf8'), answer.text)
        }
      }
    }
  })

  t.test('an asynchronous one: the result; of a list with the id of its job', async (t) => {
    for (const [i, [path, body]] of waysTo('async', null).entries()) {
      for (const prefer of ['respond-async', 'wait=20']) {
        const name = `async/${i}.json`
        await rm(join(root, 'async'), { recursive: true, force: true })
        const asked = { ...body, output_file: name }
        const answer = await call(`${url}${path}`, 'POST', asked, { prefer })
        const jobId = answer.json.jobId ?? (await call(`${url}/jobs`, 'GET')).json.jobs.at(-1).jobId
        t.equal((await ended(url, jobId)).status, 'succeeded')
        const result = await call(`${url}/jobs/${jobId}/result`, 'GET')
        const written = await readFile(join(root, name), 'utf8')
        if (path === '/predict/images') {
          t.equal(written, `{"results":${result.text},"jobId":"${jobId}"}`)
        } else t.equal(written, result.text)
        if (prefer !== 'respond-async') t.equal(written, answer.text, 'and the very body')
      }
    }
  })

  t.test('any answer is written, and none for another output', async (t) => {
    const list = waysTo('list', 'list.json', { extra_params: { as: 'list' } })[0] as [
      string,
      object
    ]
    t.equal((await call(`${url}${list[0]}`, 'POST', list[1])).text, '["list","é"]')
    t.equal(await readFile(join(root, 'list.json'), 'utf8'), '["list","é"]')
    for (const output of ['json', 'db', 'FILE']) {
      for (const [path, body] of waysTo('other', 'other.json')) {
        const answer = await call(`${url}${path}`, 'POST', { ...body, output })
        t.match(answer.text, /by other/)
        t.notOk(existsSync(join(root, 'other.json')), `${output} writes nothing`)
      }
    }
  })

  t.test('an empty list has its file, too', async (t) => {
    const body = { images: [], output: 'file', output_file: 'empty.json' }
    const answer = await call(`${url}/predict/images`, 'POST', body)
    t.equal(answer.status, 200)
    t.same(answer.json.results, [])
    t.equal(await readFile(join(root, 'empty.json'), 'utf8').catch(() => null), answer.text)
  })

  t.test('a run that fails leaves the file as it was', async (t) => {
    await writeFile(join(root, 'old.json'), 'old')
    for (const [path, body] of waysTo('bad', 'old.json', { extra_params: { as: 'throw' } })) {
      if (path === '/predict/images') continue
      const answer = await call(`${url}${path}`, 'POST', body)
      t.equal(answer.status, 422)
      t.equal(await readFile(join(root, 'old.json'), 'utf8'), 'old')
    }
  })

  t.test('a file that is there is replaced in one step: no reader sees a part', async (t) => {
    const path = join(root, 'read', 'often.json')
    const send = (letter: string) => {
      const extra_params = { letters: 400_000 }
      const [way, body] = waysTo(letter, path, { extra_params })[2] as [string, object]
      return call(`${url}${way}`, 'POST', body)
    }
    const whole = [(await send('a')).text, (await send('b')).text]
    let isWriting = true
    const write = async () => {
      for (let i = 0; i < 25; i++) await Promise.all([send('a'), send('b')])
    }
    const writing = write().finally(() => {
      isWriting = false
    })
    let reads = 0
    let parts = 0
    const seen = new Set<string>()
    while (isWriting) {
      // Synchronous reads of a file that another thread writes: also in the middle of a write.
      const text = readFileSync(path, 'utf8')
      reads += 1
      seen.add(text[11] as string)
      if (!whole.includes(text)) parts += 1
      await new Promise(setImmediate)
    }
    await writing
    t.equal(parts, 0, `of ${reads} reads none had a part`)
    t.same([...seen].sort(), ['a', 'b'], 'and both were seen')
    t.same(await readdir(join(root, 'read')), ['often.json'])
  })

  t.test('nothing that is temporary is left', async (t) => {
    const names = await everyName(root)
    t.ok(names.length > 5)
    t.same(
      names.filter((name) => name.includes('.part')),
      []
    )
    t.ok((await runs()).length > 0)
  })
})

t.test('an output_file that is not possible', async (t) => {
  const { url, root, outside, base, runs } = await serveAuthor(t)
  await symlink(outside, join(root, 'link'))
  await mkdir(join(root, 'folder', 'inner'), { recursive: true })
  await writeFile(join(root, 'plain'), 'plain')
  await writeFile(join(outside, 'secret'), 'secret')
  await symlink(join(outside, 'secret'), join(root, 'file-link'))

  t.test('one that can be known to be none is said at once, and nothing runs', async (t) => {
    const none: unknown[] = [
      ...[null, '', '  ', '..', '../x.json', 'a/../../x.json', '.', './', 'folder/', '/'],
      ...[join(outside, 'x.json'), `${root}x.json`, `${root}/../x.json`, root, '/etc/x.json'],
      ...['a\0b.json', '\0', `${'../'.repeat(50)}tmp/x.json`]
    ]
    for (const output_file of none) {
      for (const [path, body] of waysTo('never', output_file)) {
        for (const more of [{}, { is_async: true }]) {
          const { status, json } = await call(`${url}${path}`, 'POST', { ...body, ...more })
          t.equal(status, 200, `${path} to ${JSON.stringify(output_file)}`)
          t.match(json, { error: /output_file/ })
          t.notOk('jobId' in json)
        }
      }
    }
    const missing = { movie_id: 'never', local: false, output: 'file' }
    t.match((await call(`${url}/predict`, 'POST', missing)).json, { error: /output_file/ })
    t.same(await runs(), [], 'nothing ran')
    t.same((await call(`${url}/jobs`, 'GET')).json, { jobs: [] }, 'and there is no job')
  })

  t.test('one that shows only when it is written stands as error in the answer', async (t) => {
    for (const output_file of [
      ...['link/x.json', 'link/new/folder/x.json', 'folder', 'folder/inner', 'plain/x.json'],
      ...['x'.repeat(300), `${'y'.repeat(300)}/x.json`]
    ]) {
      for (const [path, body] of waysTo('once', output_file)) {
        const shown = `${path} to ${output_file.slice(0, 30)}`
        const sync = await call(`${url}${path}`, 'POST', body)
        t.equal(sync.status, 200, shown)
        t.match(sync.json, { error: /output_file/ })
        const async = await call(`${url}${path}`, 'POST', { ...body, is_async: true })
        t.equal(async.status, 200)
        // One may be known to be impossible before it runs.
        if (async.json.jobId === undefined) t.match(async.json, { error: /output_file/ })
        else {
          const record = await ended(url, async.json.jobId)
          t.match(record, { state: 'finish', error: /output_file/ }, `${shown}: in the record`)
        }
      }
    }
    t.same(await everyName(outside), ['secret'], 'nothing was written outside')
  })

  t.test('a link in place of the file is replaced, and what it led to is not', async (t) => {
    const [path, body] = waysTo('over', 'file-link')[0] as [string, object]
    const answer = await call(`${url}${path}`, 'POST', body)
    t.equal(await readFile(join(outside, 'secret'), 'utf8'), 'secret')
    t.equal(await readFile(join(root, 'file-link'), 'utf8'), answer.text)
  })

  t.test('nothing is left behind, inside or outside', async (t) => {
    t.same((await readdir(base)).sort(), ['outside', 'root'])
    t.same(await everyName(outside), ['secret'])
    const inside = (await everyName(root)).filter((name) => !name.startsWith('link/'))
    t.same(inside, ['file-link', 'folder', 'folder/inner', 'link', 'plain'])
    t.equal(await readFile(join(root, 'plain'), 'utf8'), 'plain')
  })
})

t.test('without EXPERT_OUTPUT_ROOT no file is written, and nothing runs for it', async (t) => {
  const { url, base, root, runs } = await serveAuthor(t, { root: null })
  for (const output_file of ['x.json', join(root, 'x.json'), null]) {
    for (const [path, body] of waysTo('never', output_file)) {
      for (const more of [{}, { is_async: true }]) {
        const { status, json } = await call(`${url}${path}`, 'POST', { ...body, ...more })
        t.equal(status, 200)
        t.match(json, { error: /EXPERT_OUTPUT_ROOT/ })
      }
    }
  }
  t.same(await runs(), [])
  t.same(await everyName(base), ['outside', 'root'])
})

t.test('an output root that is a link leads to where it points', async (t) => {
  const linked = join(await mkdtemp(join(tmpdir(), 'nebula-linked-')), 'linked')
  const real = await mkdtemp(join(tmpdir(), 'nebula-real-'))
  t.teardown(() => rm(join(linked, '..'), { recursive: true, force: true }))
  t.teardown(() => rm(real, { recursive: true, force: true }))
  await symlink(real, linked)
  const { url } = await serveAuthor(t, { root: linked })
  const [path, body] = waysTo('linked', 'a/b.json')[0] as [string, object]
  const answer = await call(`${url}${path}`, 'POST', body)
  t.equal(answer.json.error, null)
  t.equal(await readFile(join(real, 'a', 'b.json'), 'utf8'), answer.text)
})
