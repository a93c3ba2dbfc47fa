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

/** What is wrong with a body that is a list, a text, a number or a boolean. */
export const bodyNoObject: Issue = {
  loc: ['body'],
  msg: 'value is not a valid dict',
  type: 'type_error.dict'
}
