import { sha256 } from './packages.js'

/**
 * The NOTICE beside a model: where it comes from, under what terms, and what was done to it.
 *
 * @param {import('./models.js').Model} model
 * @param {Map<string, Uint8Array>} results name → content of what was written
 * @param {Map<string, Buffer>} sources path → content of what it was made of
 */
export function writeNotice(model, results, sources) {
  const line = (/** @type {string} */ name, /** @type {Uint8Array} */ content) =>
    `  ${sha256(content)}  ${name}`
  const licence = sources.get('LICENSE')
  return `${[
    `${model.name}.onnx`,
    '',
    ...model.origin,
    '',
    `Made by tools/convert-models.js from the npm package ${model.package}.`,
    ...model.changes,
    '',
    'SHA-256 of the files of this folder:',
    ...[...results].map(([name, content]) => line(name, content)),
    '',
    'SHA-256 of the files of the package:',
    ...[...sources].map(([name, content]) => line(name, content)),
    ...(licence === undefined ? [] : ['', "The package's licence:", '', String(licence).trim()])
  ].join('\n')}\n`
}
