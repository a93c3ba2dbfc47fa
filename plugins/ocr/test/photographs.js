/** Real photographs and scans, copied as they are or cut; what they say was read by eye. */
export const photographs = [
  {
    source: 'underline2.jpg',
    file: 'photo-screen-list.jpg',
    kind: 'photograph of a screen',
    lines: [
      'Adopt A Dolphin',
      'Subscribe to the Dolphin',
      'Report newsletter',
      'Dolphin Facts',
      'Questions & Answers',
      'Dolphin Database'
    ]
  },
  {
    source: 'underline1.jpg',
    file: 'photo-screen-page.jpg',
    kind: 'photograph of a screen, cut by the frame',
    extract: { left: 0, top: 150, width: 504, height: 330 },
    lines: [
      'to http://www.foo.com.',
      'anch, you can now also use <a',
      'let you do what you want to do.'
    ]
  },
  {
    source: 'lucasta-frag.jpg',
    file: 'scan-book.jpg',
    kind: 'scan of a book of 1864',
    lines: [
      'As might be expected, the Journals of Parliament',
      'cast additional light on the personal connexion of Love-',
      'lace with the Kentish Petition of 1642, which was for',
      'the general redress of existing grievances, not, as the',
      'editor of the Verney Papers seems to have considered,',
      'merely for the adjustment of certain points relative to',
      'the Militia. Parliamentary literature has not a very'
    ]
  },
  { source: 'rocket.jpg', file: 'photo-no-text.jpg', kind: 'negative', lines: [] }
]
