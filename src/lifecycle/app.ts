/** The part of an app that its contexts use. The class itself is in `cio.ts`. */

import type { EventEmitter } from 'node:events'
import type { Pipeline } from '../pipeline/pipeline.ts'

/** The pipeline of a context. */
export type ContextKind = 'server' | 'connection' | 'client'

/** The context of each pipeline. Each is declared where its class is. */
export interface Contexts {}

/** The three pipelines of an app: to list, remove, replace, disable and enable their entries. */
export type Pipelines = { readonly [Kind in ContextKind]: Pipeline<Contexts[Kind]> }

/**
 * The events of an app, with their arguments. Each is declared where it is emitted; the page
 * `docs/app-events.md` lists them all.
 *
 * A package adds its own events by `declare module 'cio' { interface AppEvents { … } }`. If a
 * listener throws, `error` reports it; the process and the connection go on.
 */
export interface AppEvents {}

/** The part of an app that contexts need. `cio.ts` adds what applications call. */
export interface App extends EventEmitter<AppEvents> {
  /** The three pipelines. */
  readonly pipelines: Pipelines
}
