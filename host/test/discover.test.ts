import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Candidate, discover } from '../registry/discover.ts'

const manifest = (name: string, more: Record<string, unknown> = {}) => ({
  'package.json': JSON.stringify({
    name,
    version: '1.2.3',
    keywords: ['nebula-expert'],
    exports: './index.js',
    ...more
  })
})

type Options = Partial<Parameters<typeof discover>[0]>

/** Discovers in a folder that holds `plugins`, `more` and `node_modules`. */
async function found(t: Test, tree: Record<string, unknown>, options: Options = {}) {
  const home = realpathSync(t.testdir(tree as Parameters<Test['testdir']>[0]))
  const candidates = await discover({
    pluginDirs: [join(home, 'plugins'), join(home, 'more'), join(home, 'not-there')],
    experts: {},
    selected: null,
    baseDir: home,
    ...options
  })
  return { home, candidates, shown: candidates.map(show) }
}

function show(candidate: Candidate): string {
  return `${candidate.name} ${candidate.verdict}${candidate.required ? ' required' : ''}`
}

t.test('sub-folders of every plugin folder that say that they are plugins', async (t) => {
  const { shown, candidates, home } = await found(t, {
    plugins: {
      b: manifest('@scope/expert-places', { nebula: { instances: 2, required: true } }),
      a: manifest('ocr'),
      library: { 'package.json': JSON.stringify({ name: 'library' }) },
      notes: { 'README.md': '' },
      '.hidden': manifest('hidden'),
      node_modules: { x: manifest('installed') },
      linked: t.fixture('symlink', '../aside')
    },
    more: { c: manifest('third', { nebula: { expert: 'signs' } }) },
    aside: manifest('aside')
  })
  t.strictSame(shown, ['ocr serve', 'places serve required', 'aside serve', 'signs serve'])
  t.match(candidates[1], {
    source: { folder: join(home, 'plugins', 'b'), version: '1.2.3', entry: './index.js' },
    settings: { instances: 2, required: true },
    reason: null
  })
})

t.test(
  'an entry of the configuration wins over the manifest, and waits for its plugin',
  async (t) => {
    const { shown, candidates } = await found(
      t,
      {
        plugins: { onnx: manifest('onnx', { nebula: { instances: 2, concurrency: 3 } }) },
        node_modules: { '@scope': { installed: manifest('@scope/installed') } }
      },
      {
        experts: {
          signs: { package: 'onnx', instances: 4 },
          plates: { package: 'onnx' },
          theirs: { package: '@scope/installed' },
          later: { required: true },
          'also-later': { package: '@scope/nobody' }
        }
      }
    )
    t.strictSame(shown, [
      'signs serve',
      'plates serve',
      'theirs serve',
      'later waiting required',
      'also-later waiting'
    ])
    t.match(candidates[0]?.settings, { instances: 4, concurrency: 3 })
    t.match(candidates[1]?.settings, { instances: 2, concurrency: 3 })
    t.match(candidates[3]?.reason, /'later'.*not there yet/)
    t.match(candidates[4]?.reason, /'@scope\/nobody'.*not there yet/)
  }
)

t.test('EXPERT_PLUGINS: names, folders and packages', async (t) => {
  const tree = {
    plugins: {
      ocr: manifest('ocr'),
      places: manifest('@scope/expert-places'),
      faces: manifest('faces')
    },
    aside: { mine: manifest('mine') },
    node_modules: { '@scope': { 'expert-installed': manifest('@scope/expert-installed') } }
  }
  const select = (...selected: string[]) => found(t, tree, { selected })
  const byName = await select('OCR')
  t.strictSame(byName.shown, ['faces unselected', 'ocr serve required', 'places unselected'])
  t.match(byName.candidates[0]?.reason, /EXPERT_PLUGINS/)
  const byPackage = await select('@scope/expert-places', '@scope/expert-installed')
  t.strictSame(byPackage.shown, [
    'faces unselected',
    'ocr unselected',
    'places serve required',
    'installed serve required'
  ])
  const byFolder = await select(
    './aside/mine',
    './plugins/faces',
    join('.', 'plugins', 'ocr', '..', 'ocr')
  )
  t.strictSame(byFolder.shown.slice(0, 1), ['faces serve required'])
  t.ok(byFolder.shown.includes('mine serve required'))
  const absent = await select('ocr', 'nobody', './nowhere')
  t.strictSame(absent.shown, [
    'faces unselected',
    'ocr serve required',
    'places unselected',
    'nobody waiting required',
    './nowhere waiting required'
  ])
  t.match(absent.candidates[3]?.reason, /EXPERT_PLUGINS names 'nobody'.*not there yet/)
})

t.test('a folder named twice, or by its name too, is one expert', async (t) => {
  const { shown } = await found(
    t,
    { plugins: { ocr: manifest('ocr') } },
    { selected: ['ocr', './plugins/ocr', 'ocr'] }
  )
  t.strictSame(shown, ['ocr serve required'])
})

t.test('a taken name is refused to the second, whatever its case', async (t) => {
  const { shown, candidates, home } = await found(t, {
    plugins: { a: manifest('places'), b: manifest('Places'), c: manifest('@scope/expert-places') }
  })
  t.strictSame(shown, ['places serve', 'Places broken', 'places broken'])
  for (const candidate of candidates.slice(1)) {
    t.equal(candidate.reason, `its name is taken by ${join(home, 'plugins', 'a')}`)
  }
})

t.test('what cannot be read is shown under the name of its folder', async (t) => {
  const rows: Array<[string, Record<string, unknown>, RegExp]> = [
    ['no-json', { 'package.json': '{' }, /package\.json is not usable JSON/],
    ['a-list', { 'package.json': '[]' }, /wanted an object/],
    ['bad-name', manifest('x', { nebula: { expert: '.x' } }), /"\.x" is no legal name/],
    ['no-name', manifest(''), /"" is no legal name/],
    ['no-entry', manifest('no-entry', { exports: null }), /"exports"/],
    [
      'keys',
      manifest('keys', { nebula: { env: {}, instances: 'two' } }),
      /env.*instances|instances.*env/
    ],
    ['no-object', manifest('no-object', { nebula: 'yes' }), /nebula must be object/]
  ]
  const { candidates } = await found(t, {
    plugins: Object.fromEntries(rows.map(([folder, files]) => [folder, files]))
  })
  t.equal(candidates.length, rows.length)
  for (const [folder, , reason] of rows) {
    const candidate = candidates.find(({ name }) => name === folder)
    t.match(candidate, { verdict: 'broken', source: null, reason }, folder)
  }
})

t.test('the entry, as Node itself would resolve it', async (t) => {
  const rows: Array<[unknown, string]> = [
    ['./a.js', './a.js'],
    [{ '.': './a.js', './deep': './b.js' }, './a.js'],
    [{ types: './a.d.ts', import: './a.js', require: './a.cjs' }, './a.js'],
    [{ '.': { browser: './b.js', node: { import: './a.js' }, default: './c.js' } }, './a.js'],
    [['./a.js', './b.js'], './a.js']
  ]
  for (const [exports, entry] of rows) {
    const { candidates } = await found(t, { plugins: { x: manifest('x', { exports }) } })
    t.equal(candidates[0]?.source?.entry, entry, JSON.stringify(exports))
  }
  const main = await found(t, {
    plugins: {
      x: manifest('x', { exports: undefined, main: 'lib/x.js' }),
      y: manifest('y', { exports: undefined })
    }
  })
  t.strictSame(
    main.candidates.map(({ source }) => source?.entry),
    ['lib/x.js', 'index.js']
  )
})

const model = (expert: unknown = {}) => ({
  'model.onnx': 'bytes',
  'expert.json': typeof expert === 'string' ? expert : JSON.stringify(expert)
})
const template = { onnx: manifest('@scope/onnx', { nebula: { expert: 'onnx', template: true } }) }

t.test('a folder with a model is served by the package for models', async (t) => {
  const { home, candidates, shown } = await found(t, {
    plugins: {
      ...template,
      'by-folder': model(),
      named: model({ expert: 'signs', version: '3.1' }),
      half: { 'model.onnx': 'bytes' },
      other: { 'expert.json': '{}' },
      package: { ...manifest('package'), ...model() }
    }
  })
  t.strictSame(shown, ['package serve', 'by-folder serve', 'signs serve'])
  t.equal(candidates[0]?.source?.template, null)
  const folder = join(home, 'plugins')
  t.match(candidates[1]?.source, { folder: join(folder, 'by-folder'), version: '0.0.0' })
  t.match(candidates[2]?.source, {
    folder: join(folder, 'named'),
    version: '3.1',
    template: { folder: join(folder, 'onnx') }
  })
})

t.test('without one in the plugin folders, the package that came with the host', async (t) => {
  const { candidates } = await found(t, { plugins: { signs: model() } })
  t.match(candidates, [
    { verdict: 'serve', source: { template: { packageName: '@nebula-experts/onnx' } } }
  ])
  const named = await found(t, {}, { experts: { plates: { package: 'onnx' } } })
  t.match(named.candidates, [
    { name: 'plates', source: { packageName: '@nebula-experts/onnx', template: null } }
  ])
})

t.test(
  'a model whose expert.json cannot be read is shown under the name of its folder',
  async (t) => {
    const rows: Array<[string, RegExp]> = [
      ['{', /expert\.json is not usable JSON/],
      ['[]', /wanted an object/],
      [JSON.stringify({ x: 'x'.repeat(2 ** 20) }), /has 1048584 bytes, wanted at most 1048576/],
      ['{"expert":".x"}', /"\.x" is no legal name/],
      ['{"expert":5}', /expert is 5, wanted a string/],
      ['{"version":1}', /version is 1, wanted a string/]
    ]
    for (const [text, reason] of rows) {
      const { candidates } = await found(t, { plugins: { ...template, a: model(text) } })
      t.match(candidates, [{ name: 'a', verdict: 'broken', source: null, reason }], text)
    }
  }
)

t.test(
  'a template is served under the names that are given to it, and not by itself',
  async (t) => {
    const tree = { plugins: { ...template, ocr: manifest('ocr') } }
    t.strictSame((await found(t, tree)).shown, ['ocr serve'])
    const experts = { signs: { package: 'onnx' }, plates: { package: 'onnx' } }
    const entered = await found(t, tree, { experts })
    t.strictSame(entered.shown, ['signs serve', 'plates serve', 'ocr serve'])
    const selected = await found(t, tree, { selected: ['onnx'] })
    t.strictSame(selected.shown, ['ocr unselected', 'onnx serve required'])
    const both = await found(
      t,
      { plugins: { ...template, a: model() } },
      { selected: ['./plugins/a'] }
    )
    t.strictSame(both.shown, ['a serve required'])
  }
)

t.test('paths in env are relative to the configuration file', async (t) => {
  const env = { MODEL: './models/a.onnx', UP: '../b.onnx', WORD: 'models/c', DOTS: '..', NO: '.x' }
  const { home, candidates } = await found(
    t,
    { plugins: template },
    { experts: { signs: { package: 'onnx', env } } }
  )
  t.strictSame(candidates[0]?.settings.env, {
    ...env,
    MODEL: join(home, 'models', 'a.onnx'),
    UP: join(home, '..', 'b.onnx')
  })
})
