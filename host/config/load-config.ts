import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createMedia, defaultMediaPolicy, webhookSecrets } from '@nebula-experts/sdk/hosting'
import { Ajv } from 'ajv'
import { logLevels } from '../observe/log.ts'
import { ConfigFile } from './config-schema.ts'
import { EnvironmentReader } from './environment.ts'
import type { ArangoConfig, HostConfig, RunMode } from './host-config.ts'

/** Everything that is wrong with file and environment, one line each. The host exits 78 on it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: string[]

  constructor(problems: string[]) {
    super(`The configuration cannot be used:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
    this.problems = problems
  }
}

const checkFile = new Ajv({ allErrors: true, strict: false }).compile(ConfigFile)
const CONFIG_NAME = 'experts.config.json'
const MEBIBYTE = 1024 * 1024

/**
 * Reads `experts.config.json` and the environment as a whole.
 *
 * @param env - usually `process.env`
 * @param cwd - where `NEBULA_CONFIG` and `NEBULA_DATA_DIR` are relative to
 * @throws ConfigError naming every wrong key and variable at once
 */
export function loadConfig(env: NodeJS.ProcessEnv, cwd: string): HostConfig {
  const reader = new EnvironmentReader(env)
  const problems: string[] = []

  const named = reader.text('NEBULA_CONFIG')
  const configPath = named === undefined ? findConfig(cwd) : resolve(cwd, named)
  const file = configPath === null ? {} : readConfigFile(configPath, named !== undefined, problems)
  const root = configPath === null ? cwd : dirname(configPath)
  const dataDir = reader.text('NEBULA_DATA_DIR')
  const dataFolder = dataDir === undefined ? join(root, 'data') : resolve(cwd, dataDir)
  const outputRoot = reader.text('EXPERT_OUTPUT_ROOT')
  const dirs = file.plugins_dir ?? ['./plugins']

  const config: HostConfig = {
    configPath,
    pluginDirs: (typeof dirs === 'string' ? [dirs] : dirs).map((dir) => resolve(root, dir)),
    selected: reader.list('EXPERT_PLUGINS') ?? null,
    baseDir: root,
    defaultExpert: reader.text('EXPERT_DEFAULT') ?? null,
    experts: resolvePackages(file.experts ?? {}, root),
    dataDir: dataFolder,
    port: reader.integer('PORT', 0, 65_535) ?? 8000,
    host: reader.text('HOST') ?? '0.0.0.0',
    logLevel: reader.oneOf('LOG_LEVEL', logLevels) ?? 'info',
    adminKey: reader.text('NEBULA_ADMIN_KEY') ?? null,
    threadPoolSize: reader.integer('EXPERT_THREAD_POOL_SIZE', 1, 1024) ?? 1,
    maxWaitMs: (reader.integer('MAX_WAIT_PREDICT_TIME', 1, 2_147_483) ?? 600) * 1000,
    jobsExpirationMs: (reader.integer('JOBS_EXPIRATION', 1) ?? 600) * 1000,
    store: reader.oneOf('NEBULA_STORE', ['sqlite', 'memory']) ?? 'sqlite',
    redisUrl: readRedisUrl(reader, problems),
    jobStoreMaxBytes: reader.integer('NEBULA_JOB_STORE_MAX_BYTES', MEBIBYTE) ?? null,
    maxBacklog: reader.integer('NEBULA_MAX_BACKLOG', 1) ?? 100_000,
    jobsAbsentMs: (reader.integer('JOBS_ABSENT_EXPIRATION', 1, 2_147_483) ?? 600) * 1000,
    webhookSecrets: readWebhookSecrets(reader, problems),
    webhookWaitsMs: readWaits(reader, problems),
    arango: readArango(reader, problems),
    outputRoot: outputRoot === undefined ? null : resolve(cwd, outputRoot),
    maxBodyBytes: reader.integer('NEBULA_MAX_BODY_BYTES', 1024, 1024 * MEBIBYTE) ?? 16 * MEBIBYTE,
    maxUploadBytes: reader.integer('NEBULA_MAX_UPLOAD_BYTES', 1024) ?? 128 * MEBIBYTE,
    runPipeline: reader.boolean('EXPERT_RUN_PIPELINE') ?? false,
    runMode: runModeOf(reader.text('EXPERT_RUN_MODE')),
    pipelineId: reader.text('PIPELINE_ID') ?? null,
    media: {
      ...defaultMediaPolicy,
      allowHosts: reader.list('EXPERT_ALLOW_HOSTS') ?? [],
      fileRoots: (reader.list('EXPERT_FILE_ROOTS') ?? []).map((dir) => resolve(cwd, dir)),
      ffmpeg: pathOf(reader.text('FFMPEG_PATH'), cwd),
      ffprobe: pathOf(reader.text('FFPROBE_PATH'), cwd),
      webServer: reader.text('WEB_SERVER') ?? null,
      folder: join(dataFolder, 'media')
    },
    env
  }

  try {
    createMedia(config.media)
  } catch (error) {
    problems.push((error as Error).message)
  }
  for (const bad of reader.bad) problems.push(`${bad.name}='${bad.found}': wanted ${bad.wanted}`)
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

/**
 * The experts' settings as the configuration file has them now; those of the start when there is no file.
 * @throws ConfigError with everything that is wrong with it
 */
export function readSettings(config: HostConfig): HostConfig['experts'] {
  if (config.configPath === null) return config.experts
  const problems: string[] = []
  const file = readConfigFile(config.configPath, true, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return resolvePackages(file.experts ?? {}, dirname(config.configPath))
}

function pathOf(text: string | undefined, cwd: string): string | null {
  return text === undefined ? null : resolve(cwd, text)
}

/** As in the seed system, what is no mode in so many words is `service`. */
function runModeOf(word: string | undefined): RunMode {
  return word === 'batch' || word === 'task' ? word : 'service'
}

/** Names of the seed system; a password may stand in a file, as containers are given secrets. */
function readArango(reader: EnvironmentReader, problems: string[]): ArangoConfig | null {
  const host = reader.text('ARANGO_HOST')
  if (host === undefined) return null
  const file = reader.text('DEFAULT_ARANGO_PASSWORD_FILE')
  let password = reader.text('DEFAULT_ARANGO_PASSWORD') ?? ''
  try {
    if (file !== undefined) password = readFileSync(file, 'utf8').trim()
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code
    problems.push(`DEFAULT_ARANGO_PASSWORD_FILE='${file}': cannot be read (${why})`)
  }
  return {
    host,
    port: reader.integer('ARANGO_PORT', 1, 65_535) ?? 8529,
    database: reader.text('ARANGO_DB') ?? 'prodemo',
    user: reader.text('DEFAULT_ARANGO_USER') ?? 'root',
    password
  }
}

/** A wrong one is not shown: it may have a password in it. */
function readRedisUrl(reader: EnvironmentReader, problems: string[]): string | null {
  const text = reader.text('REDIS_URL')
  if (text === undefined) return null
  const url = URL.canParse(text) ? new URL(text) : null
  const isKnown = url !== null && ['redis:', 'rediss:'].includes(url.protocol)
  if (!isKnown || url.hostname === '' || !/^(\/\d*)?$/.test(url.pathname)) {
    problems.push('REDIS_URL: wanted redis://[user:password@]host[:port][/database], or rediss://…')
    return null
  }
  return text
}

/** In 22 hours nine tries; a receiver that is away for a night is not given up. */
const WEBHOOK_WAITS = '5,30,120,600,3600,10800,21600,43200'

function readWaits(reader: EnvironmentReader, problems: string[]): number[] {
  const words = reader.list('NEBULA_WEBHOOK_RETRIES') ?? WEBHOOK_WAITS.split(',')
  const seconds = words.map((word) => (/^\d+(\.\d+)?$/.test(word) ? Number(word) : Number.NaN))
  if (seconds.some((wait) => !(wait <= 86_400)) || seconds.length > 100) {
    const wanted = 'at most 100 waits of 0 to 86400 seconds, comma separated'
    problems.push(`NEBULA_WEBHOOK_RETRIES='${words.join()}': wanted ${wanted}`)
  }
  return seconds.map((wait) => wait * 1000)
}

function readWebhookSecrets(reader: EnvironmentReader, problems: string[]): string[] {
  try {
    return webhookSecrets(reader.text('NEBULA_WEBHOOK_SECRET') ?? '')
  } catch {
    // What it is stays unsaid.
    problems.push('NEBULA_WEBHOOK_SECRET: wanted base64 after whsec_, or another text')
    return []
  }
}

/** The file beside the working folder's package, else beside the package this host was built in. */
function findConfig(cwd: string): string | null {
  const packageRoot = fileURLToPath(new URL('../../..', import.meta.url))
  for (const folder of [cwd, packageRoot]) {
    const path = join(folder, CONFIG_NAME)
    try {
      readFileSync(path)
      return path
    } catch {
      // Not here: the next place, or none; a host without a file is complete.
    }
  }
  return null
}

function readConfigFile(path: string, named: boolean, problems: string[]): ConfigFile {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error)
    problems.push(
      `${path}: cannot be read (${why})${named ? ', though NEBULA_CONFIG names it' : ''}`
    )
    return {}
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    problems.push(`${path}: is not JSON (${(error as Error).message})`)
    return {}
  }
  if (checkFile(parsed)) return parsed as ConfigFile
  for (const error of checkFile.errors ?? []) {
    const where = error.instancePath === '' ? '/' : error.instancePath
    const what = Object.values(error.params ?? {})
      .flat()
      .filter((value) => typeof value === 'string')
      .join(', ')
    problems.push(`${path}: ${where} ${error.message}${what === '' ? '' : ` (${what})`}`)
  }
  return {}
}

/** Folders in the file are relative to the file. */
function resolvePackages(experts: NonNullable<ConfigFile['experts']>, root: string) {
  const resolved: HostConfig['experts'] = {}
  for (const [name, settings] of Object.entries(experts)) {
    const source = settings.package
    const isFolder = source !== undefined && (source.startsWith('.') || isAbsolute(source))
    resolved[name] = isFolder ? { ...settings, package: resolve(root, source) } : settings
  }
  return resolved
}
