import { RE2JS } from 're2js'

/** A pattern that is searched for in time linear in the text, whatever the pattern. */
export interface LinearPattern {
  test(text: string): boolean
}

/**
 * Compiles a JSON Schema `pattern` for RE2, so that no pattern of an expert and no text of a caller
 * can hold the server.
 *
 * @throws Error when RE2 cannot express it: look-around, back references, counts above 1,000
 */
export function compilePattern(pattern: string): LinearPattern {
  return RE2JS.compile(RE2JS.translateRegExp(pattern))
}

/** Ajv's `code.regExp`. Its `code` is only for stand-alone output, which is not used. */
export const ajvPattern = Object.assign((pattern: string) => compilePattern(pattern), {
  code: 'compilePattern'
})
