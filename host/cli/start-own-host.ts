import type { HostConfig } from '../config/host-config.ts'
import { ConfigError, loadConfig } from '../config/load-config.ts'
import { createHost, type Host } from '../host.ts'
import type { Logger } from '../observe/log.ts'
import { EXIT_CONFIG, EXIT_SOFTWARE } from './exit-codes.ts'

/** Reads the configuration; when it cannot be used, says why, sets the exit code, and gives null. */
export function configOrExit(env: NodeJS.ProcessEnv): HostConfig | null {
  try {
    return loadConfig(env, process.cwd())
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = EXIT_CONFIG
    return null
  }
}

/** Starts a host; when it cannot, logs why, sets the exit code, and gives null. */
export async function hostOrExit(
  options: { config: HostConfig; log: Logger; listens?: boolean },
  flush: () => void
): Promise<Host | null> {
  try {
    return await createHost(options)
  } catch (error) {
    options.log.fatal({ err: error }, `the host cannot start: ${(error as Error).message}`)
    flush()
    process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : EXIT_SOFTWARE
    return null
  }
}
