import type { IncomingMessage } from 'node:http'
import type { RouteTally } from '../observe/request-tally.ts'

/** A request on its way to an expert's routes: `url` is what follows the base under which it came. */
export interface HostedRequest extends IncomingMessage {
  /** `/experts/{name}`, or empty at the root. */
  base?: string
  requestId?: string
  /** Of the route that answers it; absent while it has come to none. */
  tally?: RouteTally
}
