import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const FPS = 25

/** How a movie of stills is made. */
export interface StillMovieOptions {
  /** Paths of pictures of any size; what they do not fill is black. */
  stills: readonly string[]
  /** Of each still. */
  seconds: number
  /** Pixels, even numbers. */
  width: number
  height: number
  /** Path of a sound file; the movie is not longer than it. Default: no sound. */
  sound?: string
}

/**
 * Makes a movie whose content and cuts are known, for tests: each still for some seconds, slowly coming nearer, with
 * hard cuts between them; 25 frames a second, H.264. Needs ffmpeg (`FFMPEG_PATH`, or on `PATH`).
 *
 * @param path - of the movie; its ending says the container
 * @throws Error with what ffmpeg says
 */
export async function makeStillMovie(
  path: string,
  { stills, seconds, width, height, sound }: StillMovieOptions
): Promise<void> {
  const files = [...stills, ...(sound === undefined ? [] : [sound])]
  const [wide, high] = [2 * width, 2 * height]
  const whole = `scale=${wide}:${high}:force_original_aspect_ratio=decrease,pad=${wide}:${high}:-1:-1`
  const centre = "x='(iw-iw/zoom)/2':y='(ih-ih/zoom)/2'"
  const nearer = `zoompan=z='1+0.0008*on':${centre}:d=${seconds * FPS}:s=${width}x${height}:fps=${FPS}`
  const parts = stills.map((_, index) => `[${index}:v]${whole},${nearer},setsar=1[v${index}]`)
  const names = stills.map((_, index) => `[v${index}]`).join('')
  const filter = [...parts, `${names}concat=n=${stills.length}[v]`].join(';')
  const maps = ['-map', '[v]', ...(sound === undefined ? [] : ['-map', `${stills.length}:a`])]
  await run(process.env['FFMPEG_PATH'] ?? 'ffmpeg', [
    ...['-v', 'error', '-y'],
    ...files.flatMap((file) => ['-i', file]),
    ...['-filter_complex', filter, ...maps, '-pix_fmt', 'yuv420p', '-shortest', path]
  ])
}
