import { type Static, Type } from 'typebox'

const milliseconds = (description: string, fallback?: number) =>
  Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 2_147_483_647,
      description: `${description}, milliseconds`,
      ...(fallback === undefined ? {} : { default: fallback })
    })
  )

/** One entry under `experts`, and the same keys in a package's manifest under `nebula`. */
export const ExpertSettings = Type.Object(
  {
    package: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Name of a plugin, npm package or folder; default: the plugin named as the key'
      })
    ),
    env: Type.Optional(
      Type.Record(Type.String(), Type.String(), {
        description:
          "Values of the expert's declared config keys; they win over the environment. Those that start with ./ or ../ are paths relative to this file"
      })
    ),
    runtime: Type.Optional(
      Type.Union([Type.Literal('process'), Type.Literal('inline')], {
        default: 'process',
        description: "inline runs the expert in the host's own process: for debugging alone"
      })
    ),
    instances: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 64, default: 1, description: 'Processes side by side' })
    ),
    spare: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 16,
        default: 0,
        description: 'Warm processes that take the place of one that was killed'
      })
    ),
    max_memory_mb: Type.Optional(
      Type.Integer({ minimum: 32, description: 'Resident memory over which a process is killed' })
    ),
    max_jobs_per_process: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Runs after which a process is replaced' })
    ),
    max_uptime_ms: milliseconds('Age at which a process is replaced'),
    heartbeat_timeout_ms: milliseconds('How long an idle process may be silent', 10_000),
    concurrency: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1024,
        description: 'Runs at once in one instance; default: EXPERT_THREAD_POOL_SIZE'
      })
    ),
    max_queue_size: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100_000,
        default: 256,
        description: 'Calls that may wait'
      })
    ),
    timeout_ms: milliseconds('How long one run may take from its start; default: no limit'),
    start_timeout_ms: milliseconds('How long import and init may take', 600_000),
    drain_timeout_ms: milliseconds('How long running calls may take when the expert stops', 30_000),
    rerun: Type.Optional(
      Type.Boolean({
        default: true,
        description: 'Run a call again once when its process died through no fault of its own'
      })
    ),
    quarantine: Type.Optional(
      Type.Object(
        {
          failures: Type.Optional(Type.Integer({ minimum: 1, default: 5 })),
          within_ms: milliseconds('In how long a time', 60_000)
        },
        { additionalProperties: false, description: 'When a crash loop is parked' }
      )
    ),
    required: Type.Optional(
      Type.Boolean({ description: 'The host is ready only when this expert is active' })
    )
  },
  { additionalProperties: false }
)
export type ExpertSettings = Static<typeof ExpertSettings>

/** `experts.config.json`. */
export const ConfigFile = Type.Object(
  {
    $schema: Type.Optional(Type.String()),
    plugins_dir: Type.Optional(
      Type.Union([Type.String(), Type.Array(Type.String())], {
        default: ['./plugins'],
        description: 'Folders whose sub-folders are plugins, relative to this file'
      })
    ),
    experts: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' }), ExpertSettings, {
        additionalProperties: false,
        description: 'Settings by the name under which the expert is served'
      })
    )
  },
  { additionalProperties: false, title: 'experts.config.json of a Nebula Experts host' }
)
export type ConfigFile = Static<typeof ConfigFile>
