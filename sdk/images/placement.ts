/** `[left, top, right, bottom]`, pixels; right and bottom are the first ones outside. */
export type Box = readonly [left: number, top: number, right: number, bottom: number]

/** How a picture fills a canvas of another size. */
export type Fit =
  /** Each axis is scaled by itself until it fits: the shape of things changes. */
  | 'stretch'
  /** The whole picture, its proportions kept, in the middle of a background. */
  | 'letterbox'
  /** The middle of the picture, its proportions kept, fills the canvas; the rest is cut off. */
  | 'crop'

interface Size {
  width: number
  height: number
}

/** Where a picture came to lie on a canvas, and the way back. */
export interface Placement {
  /** The scaled picture on the canvas; with `crop` it reaches beyond it. Whole pixels. */
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  /** A box on the canvas as one on the original picture, cut at its edges. */
  toImage(box: Box): [left: number, top: number, right: number, bottom: number]
  /** A box on the original picture as one on the canvas. */
  toCanvas(box: Box): [left: number, top: number, right: number, bottom: number]
}

/** Places a picture of one size on a canvas of another. */
export function placeImage(image: Size, canvas: Size, fit: Fit): Placement {
  const { width, height } = scaledSize(image, canvas, fit)
  const x = Math.floor((canvas.width - width) / 2)
  const y = Math.floor((canvas.height - height) / 2)
  const scaleX = width / image.width
  const scaleY = height / image.height
  const within = (value: number, most: number) => Math.min(most, Math.max(0, value))
  return {
    x,
    y,
    width,
    height,
    toImage: ([left, top, right, bottom]) => [
      within((left - x) / scaleX, image.width),
      within((top - y) / scaleY, image.height),
      within((right - x) / scaleX, image.width),
      within((bottom - y) / scaleY, image.height)
    ],
    toCanvas: ([left, top, right, bottom]) => [
      left * scaleX + x,
      top * scaleY + y,
      right * scaleX + x,
      bottom * scaleY + y
    ]
  }
}

function scaledSize(image: Size, canvas: Size, fit: Fit): Size {
  if (fit === 'stretch') return { width: canvas.width, height: canvas.height }
  const ratios = [canvas.width / image.width, canvas.height / image.height] as const
  const scale = fit === 'letterbox' ? Math.min(...ratios) : Math.max(...ratios)
  // A strip of one pixel is still one pixel; and what fills the canvas must not miss it by rounding.
  const least = fit === 'letterbox' ? { width: 1, height: 1 } : canvas
  return {
    width: Math.max(least.width, Math.round(image.width * scale)),
    height: Math.max(least.height, Math.round(image.height * scale))
  }
}
