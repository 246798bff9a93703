/** An app as its contexts know it. The class, which stands on all of this, is in `cio.ts`. */

import type { EventEmitter } from 'node:events'
import type { Pipeline } from '../pipeline/pipeline.ts'
import type { AppEvents } from './app-events.ts'
import type { ContextKind } from './context.ts'

/** The context of each pipeline. Each is declared where its class is. */
export interface Contexts {}

/** The three pipelines of an app: to list, remove, replace, disable and enable their entries. */
export type Pipelines = { readonly [Kind in ContextKind]: Pipeline<Contexts[Kind]> }

/** The part of an app that contexts need. `cio.ts` adds what applications call. */
export interface App extends EventEmitter<AppEvents> {
  readonly pipelines: Pipelines
}
