import type { Checked } from '@nebula-experts/sdk/schemas'
import { type CallKind, isRouteKind } from '../runtime/messages.ts'
import type { ExpertContract } from './expert-contract.ts'

/**
 * Checks a call that was accepted under one version of an expert against another.
 *
 * @param body - the call's parameters as JSON
 * @returns why that version does not take it, or null when it does
 */
export function misfitOf(contract: ExpertContract, kind: CallKind, body: string): string | null {
  // Neither has parameters that the contract speaks of.
  if (kind === 'batch' || kind === 'task') return null
  const params = JSON.parse(body)
  if (!isRouteKind(kind)) {
    const check = contract.checkExtraParams
    if (check === null) return null
    for (const one of [params].flat()) {
      const why = say(check(one.extra_params ?? {}, ['body', 'extra_params']))
      if (why !== null) return why
    }
    return null
  }
  const route = contract.routes.find((other) => other.kind === kind)
  if (route === undefined) return `it has no route ${kind}`
  for (const part of ['params', 'querystring', 'body'] as const) {
    const why = say(route.checks[part]?.(params[part], [part]))
    if (why !== null) return why
  }
  return null
}

function say(checked: Checked | undefined): string | null {
  const [issue] = checked?.issues ?? []
  return issue === undefined ? null : `${issue.loc.join('.')}: ${issue.msg}`
}
