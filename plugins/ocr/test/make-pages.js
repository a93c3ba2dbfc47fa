/**
 * Makes the pages of `fixtures/` anew: `node plugins/ocr/test/make-pages.js [FOLDER OF PHOTOGRAPHS]`.
 *
 * Needs the DejaVu fonts; so the pictures are committed, and this runs only to change them. The
 * photographs (fixtures/LICENSES says where from) are only needed for the composites and copies.
 */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { pages } from './page-designs.js'
import { photographs } from './photographs.js'

const folder = new URL('fixtures/', import.meta.url).pathname
const photos = process.argv[2]

const truth = []
for (const page of pages) {
  const lines = await measureLines(page)
  if (page.photo === undefined)
    await render(page).png({ palette: true }).toFile(join(folder, page.file))
  else if (photos !== undefined) await composite(page)
  truth.push({
    file: page.file,
    kind: page.kind,
    lines: lines.map((line) =>
      page.sign === undefined ? line : { ...line, bbox: projectBox(page, line.bbox) }
    )
  })
}
for (const { source, file, kind, lines, extract } of photographs) {
  if (photos !== undefined && existsSync(join(photos, source))) {
    const picture = sharp(join(photos, source))
    if (extract !== undefined) picture.extract(extract)
    await picture.jpeg({ quality: 88 }).toFile(join(folder, file))
  }
  truth.push({ file, kind, lines: lines.map((text) => ({ text, bbox: null })) })
}
await writeFile(join(folder, 'pages.json'), `${JSON.stringify(truth, null, 2)}\n`)

function svg(
  page,
  lines,
  { background = page.background ?? '#ffffff', shapes = page.shapes, plain = false } = {}
) {
  const texts = lines.map(([x, y, text, style]) => {
    const all = { ...page.style, ...style, ...(plain ? { fill: '#000', stroke: 'none' } : {}) }
    const attributes = Object.entries(all).map(([key, value]) => `${key}="${value}"`)
    return `<text x="${x}" y="${y}" xml:space="preserve" ${attributes.join(' ')}>${escapeXml(text)}</text>`
  })
  const tilt = page.tilt ? `rotate(${page.tilt} ${page.width / 2} ${page.height / 2})` : ''
  const back = background === null ? '' : `<rect width="100%" height="100%" fill="${background}"/>`
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${page.width}" height="${page.height}">` +
      `${back}${shapes ?? ''}<g transform="${tilt}">${texts.join('')}</g></svg>`
  )
}

function render(page, lines = page.lines, options = {}) {
  return sharp(svg(page, lines, options)).removeAlpha()
}

/**
 * Where each line lies, found by drawing it alone: from its first to its last ink, and from the top
 * of its tall letters to the foot of its long ones, whichever it has. Tilted lines: around their ink.
 */
async function measureLines(page) {
  const measured = []
  for (const [x, y, text, style] of page.lines) {
    const ink = await inkBox(page, [x, y, text, style])
    const tall = page.tilt ? ink : await inkBox(page, [x, y, 'dg', style])
    measured.push({ text, bbox: [ink[0], tall[1], ink[2], tall[3]] })
  }
  return measured
}

async function inkBox(page, line) {
  const plain = { background: '#ffffff', shapes: '', plain: true }
  const picture = render(page, [line], plain).greyscale().raw()
  const { data, info } = await picture.toBuffer({ resolveWithObject: true })
  let [left, top, right, bottom] = [info.width, info.height, 0, 0]
  for (let y = 0; y < info.height; y += 1) {
    for (let x = 0; x < info.width; x += 1) {
      if (data[(y * info.width + x) * info.channels] > 160) continue
      left = Math.min(left, x)
      right = Math.max(right, x + 1)
      top = Math.min(top, y)
      bottom = Math.max(bottom, y + 1)
    }
  }
  return [left, top, right, bottom]
}

/** Puts the page onto a photograph: flat, or as a sign seen from the side; then grain and JPEG. */
async function composite(page) {
  let picture = sharp(join(photos, page.photo)).removeAlpha()
  if (page.crop !== undefined) picture = picture.extract(page.crop)
  let { data, info } = await picture.raw().toBuffer({ resolveWithObject: true })
  if (page.zoom !== undefined) {
    const raw = { width: info.width, height: info.height, channels: 3 }
    const larger = sharp(data, { raw }).resize(page.width, page.height)
    ;({ data, info } = await larger.raw().toBuffer({ resolveWithObject: true }))
  }
  const raw = { width: info.width, height: info.height, channels: 3 }
  if (page.sign === undefined) {
    const caption = svg(page, page.lines, { background: null })
    data = await sharp(data, { raw })
      .composite([{ input: caption }])
      .removeAlpha()
      .raw()
      .toBuffer()
  } else {
    await paintSign(page, data, info)
  }
  addGrain(data)
  await sharp(data, { raw }).jpeg({ quality: 72 }).toFile(join(folder, page.file))
}

async function paintSign(page, data, info) {
  const sign = await render(page, page.lines, { background: page.sign.background }).raw().toBuffer()
  const back = invert(homography(page))
  const [dark, bright] = page.sign.light
  for (let y = 0; y < info.height; y += 1) {
    for (let x = 0; x < info.width; x += 1) {
      const [u, v] = apply(back, x + 0.5, y + 0.5)
      if (u < 0 || v < 0 || u >= page.width || v >= page.height) continue
      const light = dark + ((bright - dark) * x) / info.width
      for (let channel = 0; channel < 3; channel += 1) {
        const value = bilinear(sign, page, u - 0.5, v - 0.5, channel)
        data[(y * info.width + x) * 3 + channel] = Math.min(255, value * light)
      }
    }
  }
}

function bilinear(pixels, { width, height }, x, y, channel) {
  const left = Math.min(width - 2, Math.max(0, Math.floor(x)))
  const top = Math.min(height - 2, Math.max(0, Math.floor(y)))
  const [fx, fy] = [Math.min(1, Math.max(0, x - left)), Math.min(1, Math.max(0, y - top))]
  const at = (dx, dy) => pixels[((top + dy) * width + left + dx) * 3 + channel]
  return (
    (at(0, 0) * (1 - fx) + at(1, 0) * fx) * (1 - fy) + (at(0, 1) * (1 - fx) + at(1, 1) * fx) * fy
  )
}

function addGrain(data) {
  // A fixed sequence, so that the same script makes the same picture.
  let seed = 12345
  for (let i = 0; i < data.length; i += 1) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    data[i] = Math.min(255, Math.max(0, data[i] + (seed / 0x7fffffff - 0.5) * 24))
  }
}

/** The projection of the page's rectangle onto four corners, as nine numbers. */
function homography({ width, height, sign }) {
  const [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = sign.corners
  const [dx1, dy1, dx2, dy2] = [x1 - x2, y1 - y2, x3 - x2, y3 - y2]
  const [sx, sy] = [x0 - x1 + x2 - x3, y0 - y1 + y2 - y3]
  const g = (sx * dy2 - dx2 * sy) / (dx1 * dy2 - dx2 * dy1)
  const h = (dx1 * sy - sx * dy1) / (dx1 * dy2 - dx2 * dy1)
  return [
    (x1 - x0 + g * x1) / width,
    (x3 - x0 + h * x3) / height,
    x0,
    (y1 - y0 + g * y1) / width,
    (y3 - y0 + h * y3) / height,
    y0,
    g / width,
    h / height,
    1
  ]
}

function invert([a, b, c, d, e, f, g, h, i]) {
  return [
    e * i - f * h,
    c * h - b * i,
    b * f - c * e,
    f * g - d * i,
    a * i - c * g,
    c * d - a * f,
    d * h - e * g,
    b * g - a * h,
    a * e - b * d
  ]
}

function apply([a, b, c, d, e, f, g, h, i], x, y) {
  const w = g * x + h * y + i
  return [(a * x + b * y + c) / w, (d * x + e * y + f) / w]
}

function projectBox(page, [left, top, right, bottom]) {
  const matrix = homography(page)
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom]
  ].map(([x, y]) => apply(matrix, x, y))
  const xs = corners.map(([x]) => x)
  const ys = corners.map(([, y]) => y)
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)].map(Math.round)
}

function escapeXml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
