import type { Issue } from '@nebula-experts/sdk/schemas'

/** Thrown by a check; answered as the seed's framework answers it. */
export class InvalidRequest extends Error {
  override readonly name = 'InvalidRequest'
  readonly issues: Issue[]

  constructor(issues: Issue[]) {
    super('The request does not fit its schema')
    this.issues = issues
  }
}

/** What is wrong with a request that has no body where one is wanted. */
export const bodyMissing: Issue = {
  loc: ['body'],
  msg: 'field required',
  type: 'value_error.missing'
}
