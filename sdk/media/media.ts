/** Where an expert may fetch from, and how much. The operator sets it; an expert cannot widen it. */
export interface MediaPolicy {
  /** Host names or addresses (`EXPERT_ALLOW_HOSTS`) that may be private; `host` or `host:port`. */
  allowHosts: string[]
  /** Folders (`EXPERT_FILE_ROOTS`) under which `file://` is allowed, links resolved. */
  fileRoots: string[]
  /** Largest download, bytes. */
  maxBytes: number
  /** Largest picture, pixels, checked before any pixel is decoded. */
  maxPixels: number
  /** Time for one download, redirects included, milliseconds. */
  timeoutMs: number
  /** Largest download of a video, bytes. */
  maxVideoBytes: number
  /**
   * Time for one download of a video, and for one run of ffmpeg, milliseconds. Of a run only what is
   * spent waiting for ffmpeg counts, not what the expert does with a frame.
   */
  videoTimeoutMs: number
  /** The program (`FFMPEG_PATH`); null: looked up at first use. */
  ffmpeg: string | null
  /** The program (`FFPROBE_PATH`); null: looked up at first use. */
  ffprobe: string | null
  /** Put before the `url_path` of a movie that is a bare path (`WEB_SERVER`); null: it is a file. */
  webServer: string | null
  /**
   * A folder that stays and that all experts of a host share, absolute; always one from which files may be
   * read. Null: there is none.
   */
  folder: string | null
}

/** A decoded picture. */
export interface DecodedImage {
  /** Row-major, interleaved, 8 bits a channel; `height * width * channels` bytes. */
  data: Uint8Array
  /** Pixels, after the picture's orientation tag has been applied. */
  width: number
  height: number
  /** 3 = RGB, 1 = grey. */
  channels: 1 | 3
}

export interface DecodeOptions {
  /** 3 (default): sRGB with alpha laid on white; 1: luminance. */
  channels?: 1 | 3
  /** How messages name the picture: its URL, say. Default: the name of the file. */
  name?: string
}

/** A file that was fetched for one job. */
export interface DownloadedFile {
  /** In the folder that was given, removed with it. */
  path: string
  bytes: number
  /** Media type as the server gave it, or null. */
  type: string | null
}

/** What a media file says of itself. */
export interface MediaInfo {
  /** ffmpeg's name of the container: `mov,mp4,m4a,3gp,3g2,mj2`, `matroska,webm`, `wav`, … */
  format: string
  /** Seconds; null when the file does not say. */
  durationS: number | null
  /** The first video stream that is not a cover picture. */
  video: {
    codec: string
    /** Pixels as shown: rotation applied, the shape of a pixel not. */
    width: number
    height: number
    /** Mean frames a second; 0 when unknown. */
    fps: number
    /** As the container counts them, which may be wrong; null when it does not. */
    frames: number | null
    /** Degrees clockwise by which the stored picture is turned to be shown. */
    rotation: 0 | 90 | 180 | 270
  } | null
  /** The first sound stream. */
  audio: { codec: string; sampleRate: number; channels: number } | null
}

/** A frame of a video. */
export interface VideoFrame extends DecodedImage {
  /** Counted from 0, in the order in which frames are shown. */
  number: number
  /** When it is shown, seconds from the start of the file. */
  second: number
}

/** Which frames, and how large. At most one of `numbers`, `seconds`, `everyS` and `every`; none: all. */
export interface FrameOptions {
  /** Frames by number, from 0. Any order; what is named twice comes once. */
  numbers?: readonly number[]
  /**
   * The first frame shown at or after each of these, within half a millisecond; the last frame of the video
   * for one that falls while it is shown. Two that mean the same frame give it once.
   */
  seconds?: readonly number[]
  /** The first frame shown at or after 0, `everyS`, 2 × `everyS`, … */
  everyS?: number
  /** Frames 0, `every`, 2 × `every`, … */
  every?: number
  /** Pixels. Of one alone, the other follows from the shape of the picture. */
  width?: number
  height?: number
  /** With both sizes: `stretch` (default) gives exactly them, `inside` keeps the shape within them. */
  fit?: 'stretch' | 'inside'
  /** 3 (default): RGB; 1: luminance. */
  channels?: 1 | 3
  /**
   * Of `numbers` and `seconds` beyond the end: `error` (default), or `skip`. A video that breaks off before
   * its end is an error too, after its last whole frame, unless this is `skip`.
   */
  missing?: 'error' | 'skip'
  signal?: AbortSignal
}

/** A hard cut. */
export interface SceneChange {
  /** The first frame of what comes after the cut. */
  frame: number
  /** When that frame is shown, seconds. */
  second: number
  /** How much changed, 0 to 1. */
  score: number
}

/** The cuts of a video. */
export interface SceneChanges {
  /** How many frames the video has: counted, not as its container says. */
  frames: number
  /** In order. */
  changes: SceneChange[]
}

/**
 * `this.media` of an expert.
 *
 * What works on video and sound needs the programs ffmpeg and ffprobe, and runs them as processes of
 * their own; without them it throws EXP_MEDIA_NO_FFMPEG, which says how to get them.
 */
export interface Media {
  /**
   * Fetches a picture by `http:`, `https:`, `data:`, or `file:` under an allowed root, into `folder`. A bare path is
   * asked of `WEB_SERVER` when that is set, else it is a file.
   *
   * @throws ExpertError EXP_MEDIA_ADDRESS for a scheme, address or path that is not allowed,
   *   EXP_MEDIA_NOT_FOUND when there is no whole answer of 2xx, EXP_MEDIA_TOO_LARGE (bytes or
   *   pixels), EXP_MEDIA_TIMEOUT, EXP_MEDIA_UNREADABLE when what came is no picture, EXP_CANCELED
   *   when `signal` is aborted
   */
  downloadImage(
    url: string,
    options: { folder: string; signal?: AbortSignal }
  ): Promise<DownloadedFile>

  /**
   * Decodes a picture file or its bytes; the first frame of an animation.
   *
   * @throws ExpertError EXP_MEDIA_UNREADABLE, EXP_MEDIA_TOO_LARGE (more than `maxPixels`)
   */
  decodeImage(source: string | Uint8Array, options?: DecodeOptions): Promise<DecodedImage>

  /**
   * Fetches a video or sound file by `http:`, `https:` or `data:` into `folder`. A `file:` URL or bare path
   * under an allowed root is not copied: the answer is its real path, and it is not to be changed.
   *
   * A bare path (`url_path` of a movie) is asked of `WEB_SERVER` when that is set; one that ends in
   * `.avi` and is not there is then asked for as `.mp4`, which is what the seed system's server holds.
   *
   * @throws ExpertError as {@link Media.downloadImage}, EXP_MEDIA_UNREADABLE when it is neither video nor
   *   sound, EXP_MEDIA_NO_FFMPEG
   */
  downloadVideo(
    url: string,
    options: { folder: string; signal?: AbortSignal }
  ): Promise<DownloadedFile>

  /**
   * Says what a media file holds, without decoding it.
   *
   * @param options - `name`: how messages name the file; default: the name of the file
   * @throws ExpertError EXP_MEDIA_UNREADABLE, EXP_MEDIA_TIMEOUT, EXP_CANCELED, EXP_MEDIA_NO_FFMPEG
   */
  probe(path: string, options?: { signal?: AbortSignal; name?: string }): Promise<MediaInfo>

  /**
   * Decodes frames of a video in one pass, in ascending order, one at a time: what is slow to take them
   * holds ffmpeg up, and leaving the loop ends it.
   *
   * @throws ExpertError EXP_BAD_INPUT for options that cannot be, and for frames beyond the end;
   *   EXP_MEDIA_UNREADABLE, EXP_MEDIA_TOO_LARGE (more than `maxPixels`), EXP_MEDIA_TIMEOUT, EXP_CANCELED,
   *   EXP_MEDIA_NO_FFMPEG
   * @example
   * ```ts
   * for await (const frame of this.media.frames(path, { everyS: 1, width: 224, height: 224 })) { … }
   * ```
   */
  frames(path: string, options?: FrameOptions): AsyncIterable<VideoFrame>

  /**
   * Writes frames of a video as `frame0063.jpg` and so on into `folder`, which is made when missing.
   *
   * @param options - `frames`: numbers from 0 in any order, or `all`; `[]` is none
   * @returns the path of each frame by its number, ascending
   * @throws ExpertError as {@link Media.frames}; then none of its files stays
   */
  divideMovieIntoFrames(
    path: string,
    options: { frames: readonly number[] | 'all'; folder: string; signal?: AbortSignal }
  ): Promise<Map<number, string>>

  /**
   * Decodes the sound of a media file, all channels mixed into one, piece by piece.
   *
   * @param options - `sampleRate`: of what is wanted, Hz; default 16000
   * @returns pieces of samples, -1 to 1, of some thousands each; the last may be shorter
   * @throws ExpertError EXP_MEDIA_UNREADABLE, also when there is no sound in it; EXP_MEDIA_TIMEOUT,
   *   EXP_CANCELED, EXP_MEDIA_NO_FFMPEG
   */
  sound(
    path: string,
    options?: { sampleRate?: number; signal?: AbortSignal }
  ): AsyncIterable<Float32Array>

  /**
   * Finds the hard cuts of a video. Fades, movement and a flash of light are no cuts.
   *
   * @param options - `threshold`: the least score, 0 to 1
   * @throws ExpertError as {@link Media.frames}
   */
  sceneChanges(
    path: string,
    options?: { threshold?: number; signal?: AbortSignal }
  ): Promise<SceneChanges>

  /**
   * The files in a folder under an allowed root, those in its folders and hidden ones left out.
   *
   * @param path - absolute, or a `file:` URL
   * @returns their `file:` URLs, sorted
   * @throws ExpertError EXP_MEDIA_ADDRESS for what lies under no root, whether it exists or not; EXP_MEDIA_NOT_FOUND
   */
  listFolder(path: string): Promise<string[]>

  /**
   * A folder that stays and that all experts of the host share, made when missing: what one expert
   * writes there, the others may read. A loss of power does not take the folder; what is written there has to be synced.
   *
   * @param name - a relative path: `frames/2402585`
   * @throws ExpertError EXP_BAD_INPUT for a name that leads elsewhere
   */
  folder(name: string): Promise<string>
}
