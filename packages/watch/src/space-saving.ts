/**
 * Space-Saving (Metwally, Agrawal, El Abbadi, 2005): the keys with the greatest weights out of any number
 * of keys, in bounded memory. A new key takes the place of the least, and inherits its weight as its
 * possible error.
 */

/** One key that is counted. */
export interface Cell<Value> {
  key: string
  weight: number
  /** By how much the weight may be too large. */
  error: number
  value: Value
}

/** A bounded set of keys by weight: a binary heap whose root is the least. */
export class SpaceSaving<Value> {
  readonly #most: number
  readonly #heap: Cell<Value>[] = []
  readonly #places = new Map<string, number>()

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#heap.length
  }

  /** Adds weight to a key. `make` gets the value for a key that is new. */
  add(key: string, weight: number, make: () => Value): Cell<Value> {
    const place = this.#places.get(key)
    const cell = place === undefined ? this.#enter(key, make()) : this.#heap[place]!
    cell.weight += weight
    this.#sink(this.#places.get(key)!)
    return cell
  }

  /** The cells, the heaviest first. */
  cells(): Cell<Value>[] {
    return this.#heap.toSorted((a, b) => b.weight - a.weight)
  }

  clear(): void {
    this.#heap.length = 0
    this.#places.clear()
  }

  #enter(key: string, value: Value): Cell<Value> {
    if (this.#heap.length < this.#most) {
      const cell = { key, weight: 0, error: 0, value }
      this.#places.set(key, this.#heap.push(cell) - 1)
      this.#rise(this.#heap.length - 1)
      return cell
    }
    const least = this.#heap[0]!
    this.#places.delete(least.key)
    this.#places.set(key, 0)
    return Object.assign(least, { key, error: least.weight, value })
  }

  #rise(from: number): void {
    for (let place = from; place > 0;) {
      const above = (place - 1) >> 1
      if (this.#heap[above]!.weight <= this.#heap[place]!.weight) return
      this.#swap(above, place)
      place = above
    }
  }

  #sink(from: number): void {
    const heap = this.#heap
    for (let place = from; ;) {
      const [left, right] = [2 * place + 1, 2 * place + 2]
      let least = place
      if (left < heap.length && heap[left]!.weight < heap[least]!.weight) least = left
      if (right < heap.length && heap[right]!.weight < heap[least]!.weight) least = right
      if (least === place) return
      this.#swap(least, place)
      place = least
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    const [first, second] = [heap[a]!, heap[b]!]
    heap[a] = second
    heap[b] = first
    this.#places.set(second.key, a)
    this.#places.set(first.key, b)
  }
}
