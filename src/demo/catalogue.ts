import { Random } from '../data/random.ts'

/** What a customer can ask about a product, and every value it can have. */
export const values = {
  price: [15, 20, 25, 30, 40, 50, 60, 75, 80, 90].map((dollars) => `${dollars} dollars`),
  color: ['blue', 'green', 'red', 'white', 'black', 'yellow', 'gray', 'brown'],
  material: ['oak', 'steel', 'glass', 'cotton', 'bamboo', 'marble', 'leather', 'wool'],
  warranty: [2, 3, 4, 5, 6, 8, 10, 12].map((years) => `${years} years`),
  delivery: [2, 3, 4, 5, 6, 7, 8, 9].map((days) => `${days} days`),
  stock: ['in stock', 'sold out', 'on back order'],
} as const satisfies Record<string, readonly string[]>

export type Attribute = keyof typeof values

export const attributes = Object.keys(values) as Attribute[]

// A collection shares its look, a kind its terms; each product has a price and a stock of its own.
const collections = {
  harbor: { color: 'blue', material: 'oak' },
  meadow: { color: 'green', material: 'bamboo' },
  ember: { color: 'red', material: 'leather' },
  summit: { color: 'white', material: 'marble' },
  raven: { color: 'black', material: 'steel' },
  comet: { color: 'yellow', material: 'glass' },
  pebble: { color: 'gray', material: 'wool' },
  acorn: { color: 'brown', material: 'cotton' },
} as const
const kinds = {
  lamp: { warranty: '2 years', delivery: '3 days' },
  desk: { warranty: '10 years', delivery: '9 days' },
  chair: { warranty: '5 years', delivery: '4 days' },
  shelf: { warranty: '8 years', delivery: '6 days' },
  mirror: { warranty: '3 years', delivery: '5 days' },
} as const

/** The truth about one attribute of one product. */
export interface Fact {
  /** A collection and a kind: "harbor lamp". */
  product: string
  attribute: Attribute
  value: string
}

/** Every attribute of every product of the shop. */
export const facts: readonly Fact[] = Object.entries(collections).flatMap(([collection, look]) =>
  Object.entries(kinds).flatMap(([kind, terms]) => {
    const product = `${collection} ${kind}`
    const own = new Random('catalogue', product)
    const truth: Record<Attribute, string> = {
      ...look,
      ...terms,
      price: own.pick(values.price),
      stock: own.pick(values.stock),
    }
    return attributes.map((attribute) => ({ product, attribute, value: truth[attribute] }))
  }),
)

export const products: readonly string[] = [...new Set(facts.map(({ product }) => product))]
