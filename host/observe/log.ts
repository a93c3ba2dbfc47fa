import { type Logger, pino } from 'pino'

export type { Logger }

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

export function isLogLevel(level: unknown): level is LogLevel {
  return (logLevels as readonly unknown[]).includes(level)
}

/**
 * The host's log: one JSON object a line on stdout, time in ISO 8601, level by name.
 *
 * Written without blocking the loop; `flushLog` empties the buffer before the process ends.
 */
export function createLog(level: LogLevel): { log: Logger; flush: () => void } {
  const destination = pino.destination({ dest: 1, sync: false })
  const log = pino(
    {
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err }
    },
    destination
  )
  return {
    log,
    flush: () => {
      try {
        destination.flushSync()
      } catch {
        // Not open yet, or the reader is gone: there is nobody to tell.
      }
    }
  }
}

/** A log that says nothing, for those who embed the host without one. */
export function createSilentLog(): Logger {
  // Without a place to write to: its level may be set later.
  return pino({ level: 'silent' }, { write: () => {} })
}
