export { compileSchema } from './compile-schema.ts'
export type { Checked, Issue } from './issue.ts'
export { SchemaError } from './schema-error.ts'
