/**
 * Containers and bare streams that hold their media themselves.
 *
 * Playlists and scripts (HLS, DASH, concat, SDP, IMF, …) name other files and addresses, which ffmpeg would
 * read for whoever wrote them; patterns of pictures, devices and text would open what nobody meant. None of
 * these is in the list, so what a file says it is cannot lead out of it.
 */
const formats = [
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,gif,apng',
  'h264,hevc,obu,m4v,mjpeg,dv,rm,yuv4mpegpipe',
  'wav,w64,flac,mp3,aac,ac3,eac3,aiff,au,caf,amr,dts,ape,tta,wv'
].join(',')

/**
 * How ffmpeg and ffprobe are told to read a file: its container alone, no other file, no network, one thread.
 *
 * One thread, since the processors belong to the experts that run at the same time, and since each thread of a decoder
 * holds frames of its own.
 *
 * @param path - absolute
 * @param maxPixels - of a frame; whatever says more is not decoded, not even to see what it is
 */
export function inputOptions(path: string, maxPixels: number): string[] {
  // Decoders round sides up to whole blocks; what is exact is checked by who knows the true size.
  const most = Math.ceil(maxPixels * 1.05) + 65_536
  const locked = ['-protocol_whitelist', 'file', '-format_whitelist', formats]
  return [...locked, '-max_pixels', `${most}`, '-threads', '1', '-i', `file:${path}`]
}
