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
}

/** A file that was fetched for one job. */
export interface DownloadedFile {
  /** In the folder that was given, removed with it. */
  path: string
  bytes: number
  /** Media type as the server gave it, or null. */
  type: string | null
}

/** `this.media` of an expert. */
export interface Media {
  /**
   * Fetches a picture by `http:`, `https:`, `data:`, or `file:` under an allowed root, into `folder`.
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
}
