/**
 * What the rendered pages say. Own words, so that no one else has rights in them.
 * A page: width, height, background, style of its lines, and lines as [x, baseline, text, style?].
 */
const sans = { 'font-family': 'DejaVu Sans' }
const serif = { 'font-family': 'DejaVu Serif' }
const mono = { 'font-family': 'DejaVu Sans Mono' }

/** Lines of one style below each other. */
function stack(x, y, step, texts, style = {}) {
  return texts.map((text, index) => [x, y + index * step, text, style])
}

export const pages = [
  {
    file: 'sans-paragraph.png',
    kind: 'paragraph',
    width: 900,
    height: 420,
    style: { ...sans, 'font-size': 24 },
    lines: stack(50, 70, 44, [
      'The harbour was quiet when the first boat came in.',
      'Nobody on the quay had expected her before noon,',
      'and the two men who mended nets under the crane',
      'did not look up until her bell had rung twice.',
      'She carried oranges, coal, a piano and one letter.',
      'The letter was for a baker who had moved away.',
      'They kept it on a shelf until the winter ended.'
    ])
  },
  {
    file: 'serif-paragraph.png',
    kind: 'paragraph',
    width: 960,
    height: 460,
    style: { ...serif, 'font-size': 20 },
    lines: stack(60, 60, 36, [
      'A good map leaves most things out. It shows the road, the river',
      'and the bridge, and says nothing of the weather or the neighbours.',
      'Whoever draws one must decide, many times an hour, what a stranger',
      'will need at the next corner, and trust that the rest can be seen.',
      'My grandmother drew hers on the backs of envelopes. They had no',
      'scale at all, yet nobody who followed one of them was ever lost,',
      'because she put in the dog that barks, the yellow door, the smell',
      'of the tannery, and exactly how long a person gets tired of hills.'
    ])
  },
  {
    file: 'mono-code.png',
    kind: 'code',
    width: 820,
    height: 360,
    background: '#fbfbf7',
    style: { ...mono, 'font-size': 19, fill: '#222' },
    lines: [
      ...stack(40, 54, 34, ['export function area(width, height) {']),
      ...stack(63, 88, 34, [
        'const total = width * height',
        'if (total > 4096) return null',
        'return { total, unit: "px" }'
      ]),
      ...stack(40, 190, 34, [
        '}',
        'const page = area(640, 480) // 307200',
        'console.log(page?.total ?? "none")'
      ])
    ]
  },
  {
    file: 'light-on-dark.png',
    kind: 'light on dark',
    width: 860,
    height: 380,
    background: '#14171c',
    style: { ...sans, 'font-size': 26, fill: '#e8eaed' },
    lines: stack(50, 80, 54, [
      'Night shift: all stations report normal',
      'Pressure has been stable since midnight',
      'Next inspection is due on Thursday at 06:30',
      'Call the desk if the green lamp goes out',
      'Keep this door closed during the test'
    ])
  },
  {
    file: 'coloured-panels.png',
    kind: 'coloured background',
    width: 800,
    height: 420,
    background: '#fff3c4',
    shapes: `<rect x="0" y="0" width="800" height="140" fill="#0b6e4f"/>
      <rect x="0" y="280" width="800" height="140" fill="#7b1e3a"/>`,
    style: { ...sans, 'font-size': 28 },
    lines: [
      ...stack(50, 62, 46, ['Garden open every Sunday', 'from April to October'], {
        fill: '#ffffff'
      }),
      ...stack(50, 204, 46, ['Children under ten pay nothing', 'Please leave dogs at the gate'], {
        fill: '#1a3a8f'
      }),
      ...stack(50, 344, 46, ['The tea house closes at five', 'Thank you for your visit'], {
        fill: '#ffd9a0'
      })
    ]
  },
  {
    file: 'two-columns.png',
    kind: 'two columns',
    width: 960,
    height: 400,
    style: { ...serif, 'font-size': 18 },
    lines: [0, 1, 2, 3, 4, 5, 6, 7].flatMap((row) => [
      [
        50,
        60 + row * 36,
        [
          'The clock in the tower stopped',
          'on the day of the great flood.',
          'For years the town agreed that',
          'it was always twenty past four,',
          'and trains were late by custom.',
          'Then a new teacher climbed up',
          'with a can of oil and a brush,',
          'and by evening it was moving.'
        ][row]
      ],
      [
        520,
        60 + row * 36,
        [
          'People did not thank her at first.',
          'They had grown fond of the hour,',
          'and some had built a life on it.',
          'The barber opened when he liked,',
          'the school bell rang by hunger,',
          'and no debt ever quite fell due.',
          'Now every minute had a number,',
          'and the numbers would not wait.'
        ][row]
      ]
    ])
  },
  {
    file: 'small-print.png',
    kind: 'small, 14 px',
    width: 760,
    height: 300,
    style: { ...sans, 'font-size': 14 },
    lines: stack(30, 40, 25, [
      'This ticket is valid for one journey on the day that is printed on it.',
      'It must be shown to the guard when asked and cannot be given to others.',
      'A lost ticket is not replaced, whatever the reason for its loss may be.',
      'Bicycles travel free of charge outside the rush hour if there is room.',
      'For refunds write to the office within thirty days of the journey.',
      'The company may change the timetable without notice in bad weather.',
      'Luggage left on board is kept at the terminus for two weeks.',
      'Lights, horns and emergency brakes must only be used in danger.',
      'Printed on recycled paper.'
    ])
  },
  {
    file: 'large-headline.png',
    kind: 'large',
    width: 1200,
    height: 560,
    background: '#f4f4f4',
    style: { ...sans, 'font-weight': 'bold' },
    lines: [
      [60, 150, 'Bread and Roses', { 'font-size': 112, fill: '#b3261e' }],
      [60, 290, 'Saturday Market', { 'font-size': 88 }],
      [60, 400, 'Old Mill Square, from 8 to 14', { 'font-size': 56, 'font-weight': 'normal' }],
      [60, 490, 'Bring your own basket', { ...serif, 'font-size': 48, 'font-weight': 'normal' }]
    ]
  },
  {
    file: 'numbers.png',
    kind: 'numbers and punctuation',
    width: 860,
    height: 440,
    style: { ...sans, 'font-size': 22 },
    lines: [
      ...stack(50, 60, 44, [
        'Invoice No. 2024-0817 (copy)',
        'Due date: 31/12/2024, 23:59',
        'Phone: +49 30 5550 1234, ext. 7',
        'IBAN: XX12 3456 7890 0000 4321',
        'Total: $1,284.50 - 15% = $1,091.83',
        'E-mail: office@example.org; web: example.org/pay?id=42',
        '"Paid" & signed: #3 of 5 [A/B], v1.0.2!'
      ])
    ]
  },
  {
    file: 'receipt.png',
    kind: 'wide gaps',
    width: 640,
    height: 460,
    style: { ...mono, 'font-size': 22 },
    lines: [
      [180, 60, 'CORNER GROCERY', { 'font-weight': 'bold' }],
      ...['Apples', 'Rye bread', 'Olive oil', 'Coffee beans', 'Total'].flatMap((name, row) => [
        [60, 130 + row * 50, name],
        [480, 130 + row * 50, ['2.40', '3.15', '11.90', '8.75', '26.20'][row]]
      ]),
      [60, 420, 'Thank you, see you soon']
    ]
  },
  {
    file: 'serif-italic.png',
    kind: 'italic and bold',
    width: 860,
    height: 330,
    background: '#fdf6e3',
    style: { ...serif, 'font-size': 25, fill: '#3b2f2f' },
    lines: [
      [50, 70, 'To whom it may concern', { 'font-weight': 'bold' }],
      ...stack(
        50,
        130,
        46,
        [
          'I lend this book on one condition only:',
          'that it comes back with a pressed leaf',
          'from a place where you were happy.'
        ],
        { 'font-style': 'italic' }
      ),
      [560, 295, 'Ada, March 1931']
    ]
  },
  {
    file: 'skewed-scan.png',
    kind: 'tilted by 4 degrees',
    width: 900,
    height: 420,
    tilt: -4,
    background: '#ece8df',
    style: { ...serif, 'font-size': 22, fill: '#2a2a2a' },
    lines: stack(70, 110, 44, [
      'Minutes of the meeting held in the village hall',
      'Eleven members were present and two sent regrets',
      'The roof will be mended before the first frost',
      'Mrs Hale offered to count the chairs once more',
      'The treasurer reported a balance of 312 pounds'
    ])
  },
  {
    file: 'photo-sign-composite.jpg',
    kind: 'composite: a sign in perspective over a photograph',
    photo: 'coffee.png',
    sign: {
      corners: [
        [70, 62],
        [505, 20],
        [520, 205],
        [84, 262]
      ],
      background: '#f2ead8',
      light: [0.62, 1.06]
    },
    width: 600,
    height: 280,
    style: { ...serif, 'font-size': 50, fill: '#3a1d12', 'font-weight': 'bold' },
    lines: [
      [45, 80, 'FRESH COFFEE'],
      [45, 160, 'Two cups for one', { ...sans, 'font-size': 44, 'font-weight': 'normal' }],
      [45, 235, 'Every day until noon', { ...sans, 'font-size': 44, 'font-weight': 'normal' }]
    ]
  },
  {
    file: 'photo-caption-composite.jpg',
    kind: 'composite: a caption over a photograph',
    photo: 'astronaut.png',
    crop: { left: 30, top: 0, width: 400, height: 330 },
    zoom: 2,
    width: 800,
    height: 660,
    style: {
      ...sans,
      'font-size': 34,
      fill: '#ffffff',
      stroke: '#000000',
      'stroke-width': 5,
      'paint-order': 'stroke'
    },
    lines: [
      [60, 560, 'Portrait with a model'],
      [60, 615, 'of the space shuttle, 1999.']
    ]
  }
]
