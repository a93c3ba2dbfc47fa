/** The value of an answer's text; undefined when it is no JSON, for what an expert's process calls so need not be. */
export function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
