// Makes test/fixtures/speech.wav and speech.json: synthetic voices at known times over soft noise.
// Needs espeak-ng and ffmpeg: node plugins/voice-activity/test/make-speech.js
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const RATE = 16_000
const FIXTURES = fileURLToPath(new URL('fixtures/', import.meta.url))
const PAUSES = [0.8, 0.5, 1.3, 0.6, 0.7]
const UTTERANCES = [
  ['en-us', 150, 'The first train leaves the station at seven.'],
  ['en-gb+f3', 165, 'Nobody expected so much rain.'],
  ['de', 150, 'Guten Abend und willkommen.'],
  ['fr+f2', 150, 'Il fait beau ce matin.']
]

const folder = mkdtempSync(join(tmpdir(), 'nebula-speech-'))
let seed = 1
const noise = () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
  return (seed / 2 ** 31 - 0.5) * 0.006
}
const parts = []
const truth = []
let time = 0
const silence = (seconds) => {
  parts.push(new Float32Array(Math.round(seconds * RATE)))
  time += Math.round(seconds * RATE)
}
silence(PAUSES[0])
for (const [index, [voice, speed, text]] of UTTERANCES.entries()) {
  const spoken = join(folder, 'spoken.wav')
  execFileSync('espeak-ng', ['-v', voice, '-s', String(speed), '-w', spoken, text])
  const raw = ['-f', 'f32le', '-ac', '1', '-ar', String(RATE), 'pipe:1']
  const bytes = execFileSync('ffmpeg', ['-v', 'error', '-i', spoken, ...raw], {
    maxBuffer: 2 ** 26
  })
  const sound = new Float32Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
  )
  // What is heard begins and ends where the voice rises over a hundredth of full scale.
  const first = sound.findIndex((value) => Math.abs(value) > 0.01)
  const last = sound.findLastIndex((value) => Math.abs(value) > 0.01)
  const heard = sound.subarray(first, last + 1)
  truth.push({ start_s: time / RATE, end_s: (time + heard.length) / RATE, text })
  parts.push(heard)
  time += heard.length
  silence(PAUSES[index + 1])
}
rmSync(folder, { recursive: true })

const samples = Buffer.alloc(44 + time * 2)
samples.write('RIFF', 0)
samples.writeUInt32LE(36 + time * 2, 4)
samples.write('WAVEfmt ', 8)
samples.writeUInt32LE(16, 16)
samples.writeUInt16LE(1, 20)
samples.writeUInt16LE(1, 22)
samples.writeUInt32LE(RATE, 24)
samples.writeUInt32LE(RATE * 2, 28)
samples.writeUInt16LE(2, 32)
samples.writeUInt16LE(16, 34)
samples.write('data', 36)
samples.writeUInt32LE(time * 2, 40)
let at = 44
for (const part of parts) {
  for (const value of part) {
    const loud = Math.max(-1, Math.min(1, 0.8 * value + noise()))
    at = samples.writeInt16LE(Math.round(loud * 32_767), at)
  }
}
writeFileSync(join(FIXTURES, 'speech.wav'), samples)
writeFileSync(join(FIXTURES, 'speech.json'), `${JSON.stringify(truth, null, 2)}\n`)
