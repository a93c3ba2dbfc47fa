import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Ignore } from '@balena/dockerignore'
import { DockerfileParser, type Instruction } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import t from 'tap'
import { parse } from 'yaml'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const run = promisify(execFile)
// A CommonJS module whose types say that it is none.
const makeIgnore: () => Ignore = createRequire(import.meta.url)('@balena/dockerignore')
const dockerfile = await readFile(join(ROOT, 'Dockerfile'), 'utf8')

/** The instructions of each stage, without its FROM. */
const stages: Instruction[][] = []
for (const instruction of DockerfileParser.parse(dockerfile).getInstructions()) {
  if (instruction.getKeyword() === 'FROM') stages.push([])
  else stages.at(-1)?.push(instruction)
}
const [build, final] = stages as [Instruction[], Instruction[]]
const argumentsOf = (instruction: Instruction) =>
  instruction.getArguments().map((argument) => argument.getValue())
const only = (stage: Instruction[], keyword: string) =>
  stage.filter((instruction) => instruction.getKeyword() === keyword)

t.test('the image is described without faults', async (t) => {
  t.same(validate(dockerfile), [])
  t.equal(stages.length, 2)
  t.same(only(final, 'USER').map(argumentsOf), [['node']], 'not as root')
  t.equal(only(final, 'HEALTHCHECK').length, 1)
  const { workspaces } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const copied = only(build, 'COPY').map((copy) => argumentsOf(copy)[0])
  for (const folder of workspaces) t.ok(copied.includes(`${folder}/package.json`), folder)
})

t.test(
  'the hosts of the compose file have volumes, databases and checks of their own',
  async (t) => {
    const { services, volumes } = parse(await readFile(join(ROOT, 'docker-compose.yml'), 'utf8'), {
      merge: true
    })
    t.same(Object.keys(services), ['host-a', 'host-b', 'proxy', 'arango', 'redis'])
    const mounted = Object.values<{ volumes: string[] }>(services).flatMap(
      (service) => service.volumes
    )
    for (const volume of Object.keys(volumes)) {
      t.equal(mounted.filter((mount) => mount.startsWith(`${volume}:`)).length, 1, volume)
    }
    const proxied = await readFile(join(ROOT, 'docker/nginx.conf'), 'utf8')
    for (const host of ['host-a', 'host-b']) {
      t.match(services[host].environment, {
        ARANGO_HOST: 'arango',
        REDIS_URL: 'redis://redis:6379'
      })
      t.match(proxied, `server ${host}:8000`)
    }
    t.match(proxied, /location = \/metrics \{\s*return 404;/, 'figures of one of them, to anybody')
  }
)

t.test('the commands of the image, in a plain folder, make a host that serves', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'nebula-image-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  const context = join(root, 'context')
  await copyContext(context)
  const app = join(root, 'app')
  const environment: Record<string, string> = {}
  const place = (path: string) => (path.startsWith('/') ? join(root, path) : join(app, path))
  const remember = (instruction: Instruction) => {
    for (const pair of argumentsOf(instruction)) {
      const [name, value] = pair.split(/=(.*)/s) as [string, string]
      environment[name] = value.startsWith('/') ? place(value) : value
    }
  }
  const copy = async (instruction: Instruction) => {
    const all = argumentsOf(instruction)
    const target = place(all.at(-1)!)
    for (const source of all.slice(0, -1)) {
      const to =
        source === '.' || !all.at(-1)!.endsWith('/')
          ? target
          : join(target, source.split('/').at(-1)!)
      await mkdir(dirname(to), { recursive: true })
      await cp(join(context, source), to, { recursive: true })
    }
  }
  await mkdir(app)
  for (const instruction of build) {
    if (instruction.getKeyword() === 'ENV') remember(instruction)
    if (instruction.getKeyword() === 'COPY') await copy(instruction)
    if (instruction.getKeyword() !== 'RUN') continue
    const command = instruction.getArgumentsContent()!.replaceAll('\\\n', ' ')
    const { PATH, HOME, ...others } = process.env
    const npm = Object.entries(others).filter(([name]) =>
      /^npm_config_(?!local_prefix)/i.test(name)
    )
    const env = { PATH, HOME, ...Object.fromEntries(npm), ...environment }
    await run('sh', ['-ec', command], { cwd: app, env, maxBuffer: 2 ** 26 })
  }
  // Of the second stage the commands are for its own file system; the rest is as it says.
  for (const instruction of final) {
    if (instruction.getKeyword() === 'ENV') remember(instruction)
    if (instruction.getKeyword() === 'COPY' && !argumentsOf(instruction).includes('/app')) {
      await copy(instruction)
    }
  }
  const libraries = await readdir(join(app, 'node_modules/onnxruntime-node/bin'), {
    recursive: true
  })
  const kept = libraries.filter((name) => name.endsWith('.node'))
  t.equal(kept.length, 1, 'ONNX Runtime is there for this platform alone')
  t.match(kept[0], `linux/${process.arch}`)
  const installed = await readdir(join(app, 'node_modules'))
  for (const name of ['tap', 'typescript', 'bullmq-otel']) t.notOk(installed.includes(name), name)

  const [command, ...words] = wordsOf(only(final, 'CMD')[0]!)
  const env = { PATH: process.env.PATH, ...environment, PORT: '0', HOST: '127.0.0.1' }
  const child = spawn(command!, words, { cwd: app, env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let url = ''
  for await (const line of createInterface({ input: child.stdout })) {
    const { url: listening, active } = JSON.parse(line)
    url ||= listening ?? ''
    if (Array.isArray(active)) break
  }
  child.stdout.resume()
  const experts = (await (await fetch(`${url}/experts`)).json()) as {
    name: string
    status: string
  }[]
  const bundled = (await readdir(join(app, 'plugins'))).filter((name) => name !== 'onnx')
  t.same(
    experts.map(({ name, status }) => ({ name, status })),
    bundled.sort().map((name) => ({ name, status: 'ACTIVE' }))
  )
  const health = wordsOf(only(final, 'HEALTHCHECK')[0]!)
  const checked = { cwd: app, env: { ...env, PORT: new URL(url).port } }
  await t.resolves(run(health[0]!, health.slice(1), checked))
  await t.rejects(run(health[0]!, health.slice(1), { ...checked, env: { ...env, PORT: '1' } }))
  child.kill('SIGTERM')
  t.same(await exited, [0, null], 'it stops in good order')
})

/** What git would check out, without what the image leaves out. */
async function copyContext(target: string): Promise<void> {
  const ignored = makeIgnore().add(await readFile(join(ROOT, '.dockerignore'), 'utf8'))
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { stdout } = await run('git', list, { cwd: ROOT, maxBuffer: 2 ** 26 })
  const files = new Set(stdout.split('\0').filter((file) => file !== ''))
  for (const file of ignored.filter([...files])) {
    await mkdir(dirname(join(target, file)), { recursive: true })
    await cp(join(ROOT, file), join(target, file)).catch((error) => {
      if (error.code !== 'ENOENT') throw error
    })
  }
}

/** The words of an instruction in its JSON form. */
function wordsOf(instruction: Instruction): string[] {
  const content = instruction.getArgumentsContent()!
  return JSON.parse(content.slice(content.indexOf('[')))
}
