import { readFile } from 'node:fs/promises'
import t from 'tap'
import { SAMPLE_RATE, SpeechModel, WINDOW } from '../speech-model.ts'
import { type SpeechSegment, speechSegments } from '../speech-segments.ts'

const WINDOW_S = WINDOW / SAMPLE_RATE
const rules = { threshold: 0.5, minSpeechMs: 250, minSilenceMs: 300 }
const fixture = (name: string) => readFile(new URL(`fixtures/${name}`, import.meta.url))

/** Samples of a WAV file of 16 bits, mono. */
async function readSpeech(): Promise<Float32Array> {
  const bytes = (await fixture('speech.wav')).subarray(44)
  const sound = new Float32Array(bytes.length / 2)
  return sound.map((_, index) => bytes.readInt16LE(index * 2) / 32_768)
}

async function listen(model: SpeechModel, pieces: Iterable<Float32Array>): Promise<number[]> {
  const certainties: number[] = []
  for await (const certainty of model.listen(pieces)) certainties.push(certainty)
  return certainties
}

t.test('every utterance is found, its edges within 150 ms', async (t) => {
  const model = await SpeechModel.open()
  t.teardown(() => model.release())
  const sound = await readSpeech()
  const truth: SpeechSegment[] = JSON.parse(String(await fixture('speech.json')))
  const certainties = await listen(model, [sound])
  t.equal(certainties.length, Math.ceil(sound.length / WINDOW))
  const found = speechSegments(certainties, WINDOW_S, sound.length / SAMPLE_RATE, rules)
  t.equal(found.length, truth.length)
  for (const [index, { start_s, end_s, score }] of found.entries()) {
    const { start_s: start, end_s: end } = truth[index]!
    t.ok(Math.abs(start_s - start) <= 0.15, `begins at ${start_s}, spoken from ${start}`)
    t.ok(Math.abs(end_s - end) <= 0.15, `ends at ${end_s}, spoken to ${end}`)
    t.ok(score > 0.7, `certain: ${score}`)
  }

  const odd: Float32Array[] = []
  for (let from = 0; from < sound.length; from += 777) odd.push(sound.subarray(from, from + 777))
  t.strictSame(await listen(model, odd), certainties, 'how the sound is cut does not matter')
  t.strictSame(
    await listen(model, [sound]),
    certainties,
    'nothing of one sound is left for the next'
  )
})

t.test('silence, noise and tones are no speech', async (t) => {
  const model = await SpeechModel.open()
  t.teardown(() => model.release())
  const seconds = 4
  const sounds: Record<string, (index: number) => number> = {
    silence: () => 0,
    noise: (index) => (((index * 7919) % 10_007) / 10_007 - 0.5) * 0.2,
    tone: (index) => 0.5 * Math.sin((2 * Math.PI * 440 * index) / SAMPLE_RATE)
  }
  for (const [name, sample] of Object.entries(sounds)) {
    const sound = new Float32Array(seconds * SAMPLE_RATE).map((_, index) => sample(index))
    const certainties = await listen(model, [sound])
    t.strictSame(speechSegments(certainties, WINDOW_S, seconds, rules), [], name)
  }
  t.strictSame(await listen(model, []), [], 'no sound at all')
})

t.test('stretches are joined, dropped and padded by rule', async (t) => {
  const of = (text: string, changed: Partial<typeof rules> = {}) =>
    speechSegments(
      [...text].map((sign) => ({ '#': 0.9, '+': 0.4 })[sign] ?? 0),
      0.1,
      text.length / 10,
      { ...rules, ...changed }
    ).map(({ start_s, end_s }) => [start_s, end_s])
  t.strictSame(of('..####....'), [[0.17, 0.63]])
  t.strictSame(of('##........'), [], 'too short')
  t.strictSame(of('..####..###.'), [[0.17, 1.13]], 'a short pause')
  t.strictSame(
    of('..####...###.'),
    [
      [0.17, 0.63],
      [0.87, 1.23]
    ],
    'a long one'
  )
  t.strictSame(of('..##++##..'), [[0.17, 0.83]], 'what wavers goes on')
  t.strictSame(of('..++++....'), [], 'and does not begin')
  t.strictSame(of('####'), [[0, 0.4]], 'never beyond the sound')
  t.strictSame(of('.##.##.', { minSilenceMs: 100, minSpeechMs: 100 }).length, 2)
  const [first, second] = speechSegments([0.9, 0, 0.9], 0.032, 0.096, {
    threshold: 0.5,
    minSpeechMs: 0,
    minSilenceMs: 32
  })
  t.ok(first!.end_s <= second!.start_s, 'padding does not overlap')
})
