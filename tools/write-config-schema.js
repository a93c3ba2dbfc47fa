// Writes host/experts.config.schema.json from the host's own schema; a test keeps the two the same.
import { writeFileSync } from 'node:fs'
import { ConfigFile } from '../host/dist/config/config-schema.js'

const schema = { $schema: 'http://json-schema.org/draft-07/schema#', ...ConfigFile }
const path = new URL('../host/experts.config.schema.json', import.meta.url)
writeFileSync(path, `${JSON.stringify(schema, null, 2)}\n`)
