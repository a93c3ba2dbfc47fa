import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { floats, onnxBytes } from '../../plugins/onnx/test/onnx-bytes.ts'
import { startCommand, startProgram } from '../support/command.ts'
import { type ExpertRow, untilTrue } from '../support/experts.ts'
import { call, makeHome, startHost } from '../support/start-host.ts'

/** Three probabilities that are the same for any picture, of a size that the model leaves open. */
const classifier = onnxBytes({
  inputs: [{ name: 'a picture', type: 'float32', shape: [1, 3, 'height', 'width'] }],
  outputs: [{ name: 'scores', type: 'float32', shape: [1, 3] }],
  nodes: [
    {
      ...{ op: 'ReduceMean', inputs: ['a picture'], outputs: ['mean'] },
      attributes: { axes: [2, 3], keepdims: 0 }
    },
    { op: 'Mul', inputs: ['mean', 'zeros'], outputs: ['nothing'] },
    { op: 'Add', inputs: ['nothing', 'always'], outputs: ['scores'] }
  ],
  constants: [floats('zeros', [1, 3], [0, 0, 0]), floats('always', [1, 3], [0.2, 0.7, 0.1])]
})

t.test(
  'create --onnx writes a model that a running host serves, and whose test passes',
  async (t) => {
    const home = await makeHome(t, {})
    await writeFile(join(home, 'mine.onnx'), classifier)
    const { url } = await startHost(t, { home })
    const tasks = { tensors: [], pictures: ['--task', 'classification'] }
    for (const [name, task] of Object.entries(tasks)) {
      const words = ['create', name, '--onnx', 'mine.onnx', ...task]
      const made = startCommand(t, words, { cwd: home })
      t.strictSame(await made.ended, { code: 0, signal: null }, made.stderr)
      t.match(made.stdout, `plugins/${name} is an expert now`)
    }
    for (const name of Object.keys(tasks)) {
      await untilTrue(`${name} serves`, async () => {
        const { json } = await call(`${url}/experts`, 'GET')
        return json.some((row: ExpertRow) => row.name === name && row.status === 'ACTIVE')
      })
      const folder = join(home, 'plugins', name)
      const env = { PATH: process.env.PATH, NEBULA_URL: url }
      const tests = startProgram(t, process.execPath, ['--test'], { cwd: folder, env })
      t.equal((await tests.ended).code, 0, tests.stdout)
      t.match(tests.stdout, name === 'tensors' ? /pass 2/ : /pass 3/)
    }
    const readme = await readFile(join(home, 'plugins', 'pictures', 'README.md'), 'utf8')
    const [, body = '', path = ''] = /^curl --json '(.*)' localhost:8000(.*)$/m.exec(readme) ?? []
    const { json } = await call(url + path, 'POST', JSON.parse(body))
    t.match(json, { result: [{ label: 'class 1', score: 0.7 }, {}, {}], error: null })
  }
)

t.test('create --onnx says what it cannot serve, and leaves nothing behind', async (t) => {
  const home = await makeHome(t, {})
  await writeFile(join(home, 'mine.onnx'), classifier)
  const run = async (...words: string[]) => {
    const command = startCommand(t, ['create', ...words], { cwd: home })
    const { code } = await command.ended
    return { code, said: command.stderr }
  }
  const rows: Array<[string[], number, RegExp]> = [
    [['a', '--onnx', 'none.onnx'], 1, /none\.onnx: there is no such file/],
    [['a', '--onnx', 'experts.config.json'], 1, /Cannot open/],
    [['a', '--onnx', 'mine.onnx', '--task', 'ocr'], 1, /'ocr' is no task of a model/],
    [['a', '--task', 'detection'], 64, /--onnx beside --task/]
  ]
  await Promise.all(
    rows.map(async ([words, code, said]) => t.match(await run(...words), { code, said }))
  )
  t.equal((await run('a', '--onnx', 'mine.onnx')).code, 0)
  t.match(await run('a', '--onnx', 'mine.onnx'), { code: 1, said: /a is there already/ })
})
