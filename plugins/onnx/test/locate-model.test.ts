import { dirname, join } from 'node:path'
import t from 'tap'
import { locateModel } from '../locate-model.ts'

t.test('a model of a folder of its own comes before the variables', async (t) => {
  const home = t.testdir({
    served: { 'model.onnx': '', 'expert.json': '' },
    bare: { 'model.onnx': '' },
    empty: {},
    named: { 'mine.onnx': '', 'expert.json': '', 'other.json': '' }
  })
  const mine = join(home, 'named', 'mine.onnx')
  const other = join(home, 'named', 'other.json')
  const locate = (folder: string, model: string | null, config: string | null = null) =>
    locateModel({ model, config }, join(home, folder))
  const served = {
    model: join(home, 'served', 'model.onnx'),
    config: join(home, 'served', 'expert.json')
  }
  t.strictSame(await locate('served', null), served)
  t.strictSame(await locate('served', mine, other), served)
  t.strictSame(await locate('bare', mine), {
    model: join(home, 'bare', 'model.onnx'),
    config: null
  })
  t.strictSame(await locate('empty', mine), {
    model: mine,
    config: join(dirname(mine), 'expert.json')
  })
  t.strictSame(await locate('empty', mine, other), { model: mine, config: other })
})

t.test('what is not set, or starts nowhere, is told', async (t) => {
  const folder = t.testdir({})
  const refused = (model: string | null, config: string | null, message: RegExp) =>
    t.rejects(locateModel({ model, config }, folder), { code: 'EXP_MODEL', message })
  await refused(null, null, /There is no model: set ONNX_MODEL/)
  await refused('models/a.onnx', null, /ONNX_MODEL is 'models\/a\.onnx', which starts nowhere/)
  await refused('/models/a.onnx', './a.json', /ONNX_CONFIG is '\.\/a\.json'/)
})
