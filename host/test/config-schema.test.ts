import { readFileSync } from 'node:fs'
import t from 'tap'
import { ConfigFile } from '../config/config-schema.ts'

t.test('the schema that is shipped is the one in code', async (t) => {
  const path = new URL('../experts.config.schema.json', import.meta.url)
  const { $schema, ...shipped } = JSON.parse(readFileSync(path, 'utf8'))
  t.match($schema, /json-schema/)
  const again = 'write it with: node tools/write-config-schema.js'
  t.strictSame(shipped, JSON.parse(JSON.stringify(ConfigFile)), again)
})
