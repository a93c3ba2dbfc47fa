import { parseArgs } from 'node:util'
import { create, createModel } from './cli/create.ts'
import { doctor } from './cli/doctor.ts'
import { EXIT_USAGE } from './cli/exit-codes.ts'
import { manage, manageCommands } from './cli/manage.ts'
import { runPipelineFile } from './cli/pipeline.ts'
import { serve } from './cli/serve.ts'

const USAGE = `Usage: nebula-experts COMMAND

  serve                   serve every plugin of the plugin folders, or those that EXPERT_PLUGINS names
  serve FOLDER…           serve these packages alone
  create NAME             write plugins/NAME: an expert with its test, which a running host serves at once
  create NAME --onnx MODEL.onnx [--task TASK]
                          write plugins/NAME: a model that is served with no code; TASK is classification,
                          detection, embedding or segmentation, of pictures
  doctor FOLDER           start a package in a host of its own and say what is wrong with it
  doctor --chaos FOLDER   the same, then kill, hang and flood it, and say how it recovers
  pipeline run FILE.json [--url URL]
                          run a pipeline, here or on a running host, and show how far it is
  load|unload|reload|restart NAME [--url URL]
                          change an expert of a running host (NEBULA_ADMIN_KEY is sent when set)

Configuration: experts.config.json and environment variables; see the README.
`

interface Options {
  help?: boolean | undefined
  chaos?: boolean | undefined
  url?: string | undefined
  onnx?: string | undefined
  task?: string | undefined
}

/** A command's work, or what it wants when its words are not that. */
type Command = (words: string[], options: Options) => Promise<void> | string

const commands = new Map<string, Command>([
  ['serve', (folders) => serve(folders)],
  [
    'create',
    ([name, ...more], { onnx, task }) => {
      if (name === undefined || more.length > 0) return 'the name of the new expert'
      if (onnx === undefined) return task === undefined ? create(name) : '--onnx beside --task'
      return createModel(name, { model: onnx, task })
    }
  ],
  [
    'doctor',
    ([folder], { chaos = false }) =>
      folder === undefined ? 'the folder of a package' : doctor(folder, { chaos })
  ],
  [
    'pipeline',
    ([verb, file, ...more], { url }) =>
      verb !== 'run' || file === undefined || more.length > 0
        ? 'run FILE.json'
        : runPipelineFile(file, url)
  ],
  ...manageCommands.map((command): [string, Command] => [
    command,
    ([name], { url = 'http://127.0.0.1:8000' }) =>
      name === undefined ? 'the name of an expert' : manage(command, name, url)
  ])
])

await main()

async function main(): Promise<void> {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse()
  } catch (error) {
    misuse((error as Error).message)
    return
  }
  const { values, positionals } = parsed
  const [name = 'serve', ...words] = positionals
  const command = commands.get(name)
  if (values.help === true) process.stdout.write(USAGE)
  else if (command === undefined) misuse(`There is no command '${name}'`)
  else {
    const work = command(words, values)
    if (typeof work === 'string') misuse(`${name} wants ${work}`)
    else await work
  }
}

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      chaos: { type: 'boolean' },
      url: { type: 'string' },
      onnx: { type: 'string' },
      task: { type: 'string' }
    }
  })
}

function misuse(message: string): void {
  process.stderr.write(`${message}\n\n${USAGE}`)
  process.exitCode = EXIT_USAGE
}
