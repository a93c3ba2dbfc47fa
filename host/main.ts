import { parseArgs } from 'node:util'
import { doctor } from './cli/doctor.ts'
import { EXIT_USAGE } from './cli/exit-codes.ts'
import { type ManageCommand, manage, manageCommands } from './cli/manage.ts'
import { runPipelineFile } from './cli/pipeline.ts'
import { serve } from './cli/serve.ts'

const USAGE = `Usage: nebula-experts COMMAND

  serve                   serve every plugin of the plugin folders, or those that EXPERT_PLUGINS names
  serve FOLDER…           serve these packages alone
  doctor FOLDER           start a package in a host of its own and say what is wrong with it
  doctor --chaos FOLDER   the same, then kill, hang and flood it, and say how it recovers
  pipeline run FILE.json [--url URL]
                          run a pipeline, here or on a running host, and show how far it is
  load|unload|reload|restart NAME [--url URL]
                          change an expert of a running host (NEBULA_ADMIN_KEY is sent when set)

Configuration: experts.config.json and environment variables; see the README.
`

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
  const [command = 'serve', ...words] = positionals
  if (values.help === true) process.stdout.write(USAGE)
  else if (command === 'serve') await serve(words)
  else if (command === 'doctor' && words[0] !== undefined) {
    await doctor(words[0], { chaos: values.chaos === true })
  } else if (command === 'doctor') misuse('doctor wants the folder of a package')
  else if (command === 'pipeline') {
    if (words[0] === 'run' && words.length === 2)
      await runPipelineFile(words[1] as string, values.url)
    else misuse('pipeline wants: run FILE.json')
  } else if (!isManageCommand(command)) misuse(`There is no command '${command}'`)
  else if (words[0] === undefined) misuse(`${command} wants the name of an expert`)
  else await manage(command, words[0], values.url ?? 'http://127.0.0.1:8000')
}

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      chaos: { type: 'boolean' },
      url: { type: 'string' }
    }
  })
}

function isManageCommand(word: string): word is ManageCommand {
  return (manageCommands as readonly string[]).includes(word)
}

function misuse(message: string): void {
  process.stderr.write(`${message}\n\n${USAGE}`)
  process.exitCode = EXIT_USAGE
}
