/** Changes of the pipelines: which entries came and went, when, and from which line. */

import type { App } from 'cio'

const kinds = ['server', 'connection', 'client'] as const
const most = 50

/** The state of a pipeline between two changes. */
export interface Generation {
  readonly pipeline: (typeof kinds)[number]
  readonly generation: number
  /** When the watch saw it first, in milliseconds since 1970. */
  readonly seen: number
  readonly names: readonly string[]
  /** Compared with the previous generation; empty for the first. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
  /** The file and line that registered each of the added. */
  readonly at: readonly string[]
}

export class Generations {
  readonly #apps: readonly App[]
  readonly #known = new Map<string, Generation>()
  readonly list: Generation[] = []

  constructor(apps: readonly App[]) {
    this.#apps = apps
    this.check()
  }

  /** Notes what has changed since the last call. */
  check(): void {
    for (const [index, { pipelines }] of this.#apps.entries()) {
      for (const kind of kinds) {
        const key = `${index} ${kind}`
        if (this.#known.get(key)?.generation !== pipelines[kind].generation)
          this.#note(key, pipelines[kind])
      }
    }
  }

  #note(key: string, pipeline: App['pipelines'][(typeof kinds)[number]]): void {
    const entries = [...pipeline].filter(({ enabled }) => enabled)
    const names = entries.map(({ name }) => name)
    const before = this.#known.get(key)?.names ?? names
    const added = entries.filter(({ name }) => !before.includes(name))
    const one: Generation = {
      pipeline: pipeline.kind,
      generation: pipeline.generation,
      seen: Date.now(),
      names,
      added: added.map(({ name }) => name),
      removed: before.filter((name) => !names.includes(name)),
      at: added.map(({ at }) => at),
    }
    this.#known.set(key, one)
    this.list.push(one)
    if (this.list.length > most) this.list.shift()
  }
}
