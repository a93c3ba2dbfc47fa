/** Number, status and text of each error that is answered, as the documentation lists them. */
const ERRORS = {
  badParameter: [400, 400, 'bad parameter'],
  corruptedJson: [600, 400, 'invalid JSON object'],
  forbidden: [11, 403, 'forbidden'],
  unauthorized: [11, 401, 'not authorized to execute this request'],
  notFound: [404, 404, 'not found'],
  methodNotAllowed: [405, 405, 'method not supported'],
  unavailable: [503, 503, 'service unavailable'],
  readOnly: [1004, 403, 'read only'],
  conflict: [1200, 409, 'conflict'],
  documentNotFound: [1202, 404, 'document not found'],
  collectionNotFound: [1203, 404, 'collection or view not found'],
  duplicateName: [1207, 409, 'duplicate name'],
  illegalName: [1208, 400, 'illegal name'],
  unique: [1210, 409, 'unique constraint violated'],
  illegalKey: [1221, 400, 'illegal document key'],
  invalidType: [1227, 400, 'invalid document type'],
  databaseNotFound: [1228, 404, 'database not found'],
  systemOnly: [1230, 403, 'operation only allowed in system database'],
  parse: [1501, 400, 'syntax error'],
  afterModification: [1579, 400, 'access after data-modification'],
  bindMissing: [1551, 400, 'no value specified for declared bind parameter'],
  bindUndeclared: [1552, 400, 'bind parameter was not declared in the query'],
  bindType: [1553, 400, 'bind parameter has an invalid value or type'],
  cursorNotFound: [1600, 404, 'cursor not found']
}

export class Refusal extends Error {
  constructor(kind, more = '') {
    const [errorNum, code, text] = ERRORS[kind]
    super(more === '' ? text : `${text}: ${more}`)
    Object.assign(this, { errorNum, code })
  }
}
