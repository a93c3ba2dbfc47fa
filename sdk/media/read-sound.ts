import { ExpertError } from '../errors.ts'
import { inputOptions } from './ffmpeg-input.ts'
import { probeMedia, type ReadOptions } from './probe.ts'
import { FfmpegRun } from './run-ffmpeg.ts'

const samplesAtOnce = 8192

/**
 * Decodes the sound of a media file with one run of ffmpeg; see `sound` of {@link Media}.
 *
 * @throws ExpertError EXP_BAD_INPUT, EXP_MEDIA_UNREADABLE, EXP_MEDIA_TIMEOUT, EXP_CANCELED,
 *   EXP_MEDIA_NO_FFMPEG
 */
export async function* readSound(
  file: string,
  { sampleRate = 16_000, signal }: { sampleRate?: number; signal?: AbortSignal },
  around: Omit<ReadOptions, 'signal'>
): AsyncGenerator<Float32Array> {
  if (!Number.isSafeInteger(sampleRate) || sampleRate < 100 || sampleRate > 384_000) {
    const message = `'sampleRate' is ${sampleRate}, wanted a whole number of Hz, 100 to 384000`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  const { policy, programs } = around
  const info = await probeMedia(file, { ...around, signal })
  if (info.audio === null) {
    const message = `${info.name} has no sound, wanted a file with sound`
    throw new ExpertError('EXP_MEDIA_UNREADABLE', message)
  }
  const run = new FfmpegRun(
    await programs.ffmpeg(),
    [
      ...['-hide_banner', '-nostdin', '-nostats', '-v', 'level+error'],
      ...['-timelimit', `${Math.ceil((2 * policy.videoTimeoutMs) / 1000)}`],
      ...inputOptions(info.path, policy.maxPixels),
      ...['-map', `0:${info.audioStream}`, '-ac', '1', '-ar', `${sampleRate}`],
      // Of samples that are no integers, ffmpeg takes no care that a sum of channels stays within 1.
      ...['-rematrix_maxval', '1'],
      ...['-flush_packets', '1', '-f', 'f32le', 'pipe:1']
    ],
    { path: info.path, name: info.name, timeoutMs: policy.videoTimeoutMs, signal }
  )
  try {
    let samples = 0
    while (true) {
      const piece = new Float32Array(samplesAtOnce)
      const bytes = await run.fill(new Uint8Array(piece.buffer))
      const count = bytes >> 2
      samples += count
      if (count > 0) yield count < samplesAtOnce ? piece.subarray(0, count) : piece
      if (count < samplesAtOnce) break
    }
    await run.end()
    if (samples === 0) throw run.unreadable('has sound of which nothing can be decoded')
  } finally {
    await run.stop()
  }
}
