/** A stretch of time in which somebody speaks. */
export interface SpeechSegment {
  /** Seconds from the start of the sound. */
  start_s: number
  end_s: number
  /** How certain the model is, 0 to 1: the mean over the stretch. */
  score: number
}

/** What counts as speech. */
export interface SpeechRules {
  /** Speech begins where the model is at least so certain, 0 to 1. */
  threshold: number
  /** Shorter stretches are dropped. */
  minSpeechMs: number
  /** Shorter pauses do not end a stretch. */
  minSilenceMs: number
}

// Speech goes on until the model is this much less certain than at the start: it wavers inside words.
const HYSTERESIS = 0.15
// The first and last sounds of an utterance are too soft for the model; so each stretch gets a little more.
const PADDING_S = 0.03

/**
 * Joins the answers for windows to stretches of speech.
 *
 * @param certainties - 0 to 1, one for each window
 * @param windowS - seconds of a window
 * @param durationS - where the sound ends; the last window may reach beyond it
 */
export function speechSegments(
  certainties: readonly number[],
  windowS: number,
  durationS: number,
  { threshold, minSpeechMs, minSilenceMs }: SpeechRules
): SpeechSegment[] {
  const minSilence = Math.max(1, Math.round(minSilenceMs / 1000 / windowS))
  const low = Math.max(threshold - HYSTERESIS, threshold / 2)
  const segments: SpeechSegment[] = []
  let start = -1
  let last = -1
  const close = () => {
    if (start === -1) return
    const spoken = certainties.slice(start, last + 1)
    if (spoken.length * windowS * 1000 >= minSpeechMs) {
      segments.push({
        start_s: start * windowS,
        end_s: Math.min(durationS, (last + 1) * windowS),
        score: spoken.reduce((sum, certainty) => sum + certainty, 0) / spoken.length
      })
    }
    start = -1
  }
  for (const [index, certainty] of certainties.entries()) {
    if (start === -1 ? certainty >= threshold : certainty >= low) {
      if (start === -1) start = index
      last = index
    } else if (start !== -1 && index - last >= minSilence) {
      close()
    }
  }
  close()
  return segments.map(({ start_s, end_s, score }, index) => {
    const before = start_s - (segments[index - 1]?.end_s ?? -start_s)
    const after = (segments[index + 1]?.start_s ?? 2 * durationS - end_s) - end_s
    return {
      start_s: round(start_s - Math.min(PADDING_S, before / 2)),
      end_s: round(end_s + Math.min(PADDING_S, after / 2)),
      score: round(score)
    }
  })
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
