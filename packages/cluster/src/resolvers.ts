/** A promise that is resolved from outside. */

export interface Resolvers {
  readonly promise: Promise<void>
  readonly resolve: () => void
}

export function resolvers(): Resolvers {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}
