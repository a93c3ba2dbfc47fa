import { join } from 'node:path'
import { notedItems } from '../support/noted-items.js'
import { notedRuns } from '../support/noted-runs.js'
import { writeHome } from './chaos-host.js'

/**
 * Homes of hosts that share their stores: each serves `quick` and `slow` for `JobClients`, and the named experts for
 * pipelines. All write what they do in `folder`.
 * @returns the homes' folders
 */
export async function prepareSharing(folder, names, pipelineExperts = []) {
  const env = { LATCH_DIR: folder }
  const plugins = { quick: notedRuns('quick'), slow: notedRuns('slow') }
  const experts = { quick: { env }, slow: { env, concurrency: 4 } }
  for (const name of pipelineExperts) {
    plugins[name] = notedItems(name)
    experts[name] = { env, concurrency: 4 }
  }
  const homes = names.map((name) => join(folder, name))
  for (const home of homes) await writeHome(home, plugins, experts)
  return homes
}

/** Ends the hosts, and then the clients, which hear of it. */
export async function stopAll(clients, children) {
  const stopping = clients.stop()
  for (const child of children) child.kill('SIGKILL')
  await stopping
  clients.close()
}
