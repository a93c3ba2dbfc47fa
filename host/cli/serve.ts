import { ConfigError, loadConfig } from '../config/load-config.ts'
import { createHost, type Host } from '../host.ts'
import { createLog } from '../observe/log.ts'
import { EXIT_CONFIG, EXIT_SOFTWARE } from './exit-codes.ts'

/**
 * Serves until a signal ends it.
 * @param folders - packages to serve alone; none for what the configuration says
 */
export async function serve(folders: string[]): Promise<void> {
  const env = { ...process.env }
  if (folders.length > 0) env.EXPERT_PLUGINS = folders.map(asFolder).join(',')
  let config: ReturnType<typeof loadConfig>
  try {
    config = loadConfig(env, process.cwd())
    if (folders.length > 0) config.baseDir = process.cwd()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = EXIT_CONFIG
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
