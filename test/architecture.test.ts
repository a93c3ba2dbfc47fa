import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { hostErrors } from '../host/errors.ts'
import { expertErrorStatus } from '../sdk/errors.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))

/** Rooms of the host: each may import itself and those before it. Of one line, none knows another. */
const ROOMS = [
  ['errors', 'releasers', 'observe'],
  ['lasting-folder'],
  ['config'],
  ['runtime', 'admission', 'sqlite'],
  ['registry'],
  ['jobs', 'documents'],
  ['pipelines', 'webhooks'],
  ['http'],
  ['host'],
  ['cli'],
  ['index', 'main']
]
const DRAWERS = /^(utils?|common|helpers?|misc|shared|lib|tools)$/
const SDK = '@nebula-experts/sdk'

interface Manifest {
  name?: string
  workspaces?: string[]
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  devDependencies?: Record<string, string>
}

/** The house as the rules see it: texts of `.ts` files and `package.json` files, by path from the root. */
type House = Map<string, string>

function readHouse(): House {
  const house: House = new Map()
  const add = (path: string) => house.set(path, readFileSync(join(ROOT, path), 'utf8'))
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) {
        if (!/^(node_modules|dist.*|fixtures|\..*)$/.test(entry.name)) walk(path)
      } else if (entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts')) add(path)
    }
  }
  add('package.json')
  for (const workspace of workspacesOf(house)) {
    add(join(workspace, 'package.json'))
    walk(workspace)
  }
  walk('test')
  return house
}

function manifestOf(house: House, workspace: string): Manifest {
  return JSON.parse(house.get(join(workspace, 'package.json')) ?? '{}')
}

function workspacesOf(house: House): string[] {
  return manifestOf(house, '').workspaces ?? []
}

/** Everything that breaks a rule, as `path: what`. */
function findProblems(house: House): string[] {
  const problems: string[] = []
  const workspaces = workspacesOf(house)
  const workspaceOf = (path: string) =>
    workspaces.find((folder) => path.startsWith(`${folder}/`)) ?? ''
  for (const [path, text] of house) {
    if (!path.endsWith('.ts')) continue
    const say = (what: string) => problems.push(`${path}: ${what}`)
    const workspace = workspaceOf(path)
    const isTest = path.split('/').includes('test')
    for (const part of path.split('/').slice(workspace === '' ? 1 : workspace.split('/').length)) {
      const name = part.replace(/(\.test)?\.ts$/, '')
      if (DRAWERS.test(name)) say(`is called '${name}', which says nothing`)
    }
    for (const { fileName: specifier } of ts.preProcessFile(text, true, true).importedFiles) {
      if (specifier.startsWith('.')) {
        const target = normalize(join(dirname(path), specifier))
        // What is built, and what is plain JavaScript for programs that nothing builds.
        const isThere = isTest && specifier.endsWith('.js') && existsSync(join(ROOT, target))
        if (!isThere && !specifier.endsWith('.ts')) say(`imports ${specifier} without .ts`)
        if (workspace !== '' && workspaceOf(target) !== workspace) {
          say(`imports ${target}, a file of another package`)
        } else if (workspace === 'host' && !isTest && !mayImport(path, target)) {
          say(`imports ${target}: ${roomOf(path)} comes before ${roomOf(target)}`)
        } else if (!isTest && target.split('/').includes('test')) {
          say(`imports ${target}, a test`)
        }
      } else {
        const problem = problemOfPackage(house, workspace, isTest, specifier)
        if (problem !== null) say(problem)
        if (specifier === 'prom-client' && !path.startsWith('host/observe/')) {
          say('imports prom-client: rooms tell observers what happens')
        }
      }
    }
  }
  return problems
}

function problemOfPackage(
  house: House,
  workspace: string,
  isTest: boolean,
  specifier: string
): string | null {
  if (specifier.startsWith('node:')) return null
  if (builtinModules.includes(specifier)) return `imports ${specifier} without node:`
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  const own = manifestOf(house, workspace)
  const root = manifestOf(house, '')
  if (name.startsWith('@nebula-experts/') && workspace !== '') {
    if (workspace === 'sdk' ? name !== own.name || !isTest : name !== SDK && name !== own.name) {
      return `imports ${specifier}: ${workspace} may not know it`
    }
    if (workspace.startsWith('plugins/') && !isTest && specifier === `${SDK}/hosting`) {
      return `imports ${specifier}, which is for hosts alone`
    }
  }
  const declared = { ...own.dependencies, ...own.peerDependencies }
  if (isTest) Object.assign(declared, root.devDependencies, { [own.name ?? '']: '' })
  if (workspace === '') {
    for (const folder of workspacesOf(house)) {
      const { name: sibling = '', dependencies } = manifestOf(house, folder)
      Object.assign(declared, dependencies, { [sibling]: '' })
    }
  }
  return Object.hasOwn(declared, name)
    ? null
    : `imports ${name}, which its package.json does not declare`
}

function roomOf(path: string): string {
  return (path.split('/')[1] as string).replace(/\.ts$/, '')
}

function mayImport(from: string, target: string): boolean {
  const [own, other] = [roomOf(from), roomOf(target)]
  const placeOf = (room: string) => ROOMS.findIndex((rooms) => rooms.includes(room))
  return own === other || (placeOf(other) !== -1 && placeOf(other) < placeOf(own))
}

t.test('every import goes the right way and is declared', async (t) => {
  const house = readHouse()
  t.ok(house.size > 150, `${house.size} files are looked at`)
  t.strictSame(findProblems(house), [])
})

t.test('a wrong import is found', async (t) => {
  const house = readHouse()
  const rows: Array<[string, string, RegExp]> = [
    ['sdk/planted.ts', "import { createHost } from '@nebula-experts/host'", /sdk may not know it/],
    ['sdk/planted.ts', "import { hostErrors } from '../host/errors.ts'", /another package/],
    ['sdk/media/planted.ts', "import fastify from 'fastify'", /fastify, which its package.json/],
    ['plugins/ocr/planted.ts', "import type { Host } from '@nebula-experts/host'", /may not know/],
    ['plugins/ocr/planted.ts', "export * from '@nebula-experts/sdk/hosting'", /for hosts alone/],
    ['plugins/ocr/planted.ts', "await import('../../sdk/onnx.ts')", /another package/],
    ['plugins/ocr/planted.ts', "import '../hello-world/index.ts'", /another package/],
    ['host/planted.ts', "import { X } from '../sdk/records.ts'", /another package/],
    ['host/http/planted.ts', "import x from '@nebula-experts/ocr'", /may not know/],
    [
      'host/config/planted.ts',
      "import type { Expert } from '../registry/expert.ts'",
      /config comes before registry/
    ],
    [
      'host/runtime/planted.ts',
      "import { JobService } from '../jobs/job-service.ts'",
      /runtime comes before jobs/
    ],
    [
      'host/registry/planted.ts',
      "const x = import('../http/front.ts')",
      /registry comes before http/
    ],
    ['host/jobs/planted.ts', "export { createHost } from '../host.ts'", /jobs comes before host/],
    [
      'host/admission/planted.ts',
      "import '../runtime/runtimes.ts'",
      /admission comes before runtime/
    ],
    [
      'host/observe/planted.ts',
      "import { hostError } from '../errors.ts'",
      /observe comes before errors/
    ],
    ['host/jobs/planted.ts', "import '../test/job-records-contract.ts'", /.+/],
    [
      'host/new-room/planted.ts',
      "import { log } from '../observe/log.ts'",
      /new-room comes before/
    ],
    ['host/jobs/planted.ts', "import { Counter } from 'prom-client'", /tell observers/],
    ['host/jobs/planted.ts', "import fs from 'fs'", /without node:/],
    ['host/jobs/planted.ts', "import './job'", /without \.ts/],
    ['host/jobs/utils.ts', '', /'utils', which says nothing/],
    ['sdk/helpers/pad.ts', '', /'helpers', which says nothing/],
    ['host/jobs/planted.ts', "import t from 'tap'", /tap, which its package.json/],
    ['test/planted.test.ts', "import x from 'left-pad'", /left-pad, which its package.json/]
  ]
  for (const [path, text, words] of rows) {
    const problems = findProblems(new Map([...house, [path, `${text}\n`]]))
    t.equal(problems.length, 1, `${path}: ${text}`)
    t.match(problems[0], new RegExp(`^${path.replaceAll('.', '\\.')}: `))
    t.match(problems[0], words)
  }
  t.strictSame(
    findProblems(new Map([...house, ['host/http/planted.ts', "import '../errors.ts'\n"]])),
    []
  )
})

t.test('docs/errors.md explains every code, with its status and who can mend it', async (t) => {
  const rows = new Map<string, string[]>()
  for (const line of readFileSync(join(ROOT, 'docs/errors.md'), 'utf8').split('\n')) {
    const cells = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
    const code = /^`((?:HOST|EXP)_[A-Z_]+)`$/.exec(cells[0] ?? '')?.[1]
    if (code === undefined) continue
    t.notOk(rows.has(code), `${code} has one row`)
    rows.set(code, cells)
    t.equal(cells.length, 5, code)
    t.ok(
      cells.every((cell) => cell.length > 0),
      `${code}: no cell is empty`
    )
    t.ok(['caller', 'operator', 'author'].includes(cells[2] as string), `${code}: ${cells[2]}`)
  }
  for (const [code, { status, kind }] of Object.entries(hostErrors)) {
    t.equal(rows.get(code)?.[1], String(status), `status of ${code}`)
    t.equal(rows.get(code)?.[2] === 'caller', kind === 'user', `who can mend ${code}`)
  }
  for (const [code, status] of Object.entries(expertErrorStatus)) {
    t.equal(rows.get(code)?.[1], String(status), `status of ${code}`)
  }
  // Codes that are written elsewhere than in the two tables.
  const used = new Set<string>()
  for (const [path, text] of readHouse()) {
    if (path.split('/').includes('test')) continue
    for (const [, code] of text.matchAll(/'((?:HOST|EXP)_[A-Z_]+[A-Z])'/g)) used.add(code as string)
  }
  t.ok(used.size > 20)
  t.strictSame(
    [...used].filter((code) => !rows.has(code)),
    [],
    'every code in use has a row'
  )
  const known = new Set([...used, ...Object.keys(hostErrors), ...Object.keys(expertErrorStatus)])
  t.strictSame(
    [...rows.keys()].filter((code) => !known.has(code)),
    [],
    'every row has its code'
  )
})
