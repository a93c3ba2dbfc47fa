import { parseArgs } from 'node:util'
import { ConfigError, loadConfig } from './config/load-config.ts'
import { createHost, type Host } from './host.ts'
import { createLog } from './observe/log.ts'

/** Exit codes of `sysexits.h`, where the field uses them. */
const EXIT_USAGE = 64
const EXIT_SOFTWARE = 70
const EXIT_CONFIG = 78

const USAGE = `Usage: nebula-experts serve [FOLDER…]

  serve            serve every plugin of the plugin folders, or those that EXPERT_PLUGINS names
  serve FOLDER…    serve these packages alone

Configuration: experts.config.json and environment variables; see the README.
`

await main()

async function main(): Promise<void> {
  let words: string[]
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h' } }
    })
    if (values.help === true) {
      process.stdout.write(USAGE)
      return
    }
    words = positionals
  } catch (error) {
    fail(`${(error as Error).message}\n\n${USAGE}`, EXIT_USAGE)
    return
  }
  const [command = 'serve', ...folders] = words
  if (command !== 'serve') {
    fail(`There is no command '${command}'\n\n${USAGE}`, EXIT_USAGE)
    return
  }
  await serve(folders)
}

async function serve(folders: string[]): Promise<void> {
  const env = { ...process.env }
  if (folders.length > 0) env.EXPERT_PLUGINS = folders.map(asFolder).join(',')
  let config: ReturnType<typeof loadConfig>
  try {
    config = loadConfig(env, process.cwd())
    if (folders.length > 0) config.baseDir = process.cwd()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    fail(error.message, EXIT_CONFIG)
    return
  }
  const { log, flush } = createLog(config.logLevel)
  let host: Host
  try {
    host = await createHost({ config, log })
  } catch (error) {
    log.fatal({ err: error }, `the host cannot start: ${(error as Error).message}`)
    flush()
    process.exitCode = EXIT_SOFTWARE
    return
  }
  const stop = (signal: NodeJS.Signals) => {
    log.info({ signal }, 'stopping: running work may end, nothing new is taken')
    host.stop().then(
      () => {
        log.info('stopped')
        flush()
        process.exit(0)
      },
      (error) => {
        log.error({ err: error }, 'stopped, but not in good order')
        flush()
        process.exit(EXIT_SOFTWARE)
      }
    )
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  await host.started
  const active = host.registry.all.filter((expert) => expert.state === 'ACTIVE')
  log.info({ active: active.map((expert) => expert.name) }, 'the first round of starts has ended')
}

/** A word on the command line is a folder, also without './' in front. */
function asFolder(word: string): string {
  return word.startsWith('.') || word.startsWith('/') ? word : `./${word}`
}

function fail(message: string, code: number): void {
  process.stderr.write(`${message}\n`)
  process.exitCode = code
}
