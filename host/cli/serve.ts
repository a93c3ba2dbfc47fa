import { createLog } from '../observe/log.ts'
import { EXIT_SOFTWARE } from './exit-codes.ts'
import { runOnce } from './run-once.ts'
import { configOrExit, hostOrExit } from './start-own-host.ts'

/**
 * Serves until a signal ends it; in another `EXPERT_RUN_MODE`, runs its one expert once and ends.
 * @param folders - packages to serve alone; none for what the configuration says
 */
export async function serve(folders: string[]): Promise<void> {
  const env = { ...process.env }
  if (folders.length > 0) env.EXPERT_PLUGINS = folders.map(asFolder).join(',')
  const config = configOrExit(env)
  if (config === null) return
  if (folders.length > 0) config.baseDir = process.cwd()
  if (config.runMode !== 'service') {
    await runOnce(config, config.runMode)
    return
  }
  const { log, flush } = createLog(config.logLevel)
  const host = await hostOrExit({ config, log }, flush)
  if (host === null) return
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
