/** Probes: what watches the runs of a pipeline, without a middleware of its own in it. */

import type { ConnectionEnd } from '../connection-end.ts'

/** The methods of a probe, for the contexts of one pipeline; all are optional. */
export interface PipelineProbe<in Ctx> {
  /**
   * A run begins: a connection is accepted, before its first middleware; or a client begins an
   * attempt to connect, in its step `connect`.
   */
  begin?(ctx: Ctx): void
  /**
   * That run is over, or that attempt. Follows each `begin` once, also if the probe was removed
   * meanwhile. Comes before the event `close` or `disconnect`.
   */
  end?(ctx: Ctx, end: ConnectionEnd): void
  /**
   * A run has passed a step: it entered the next one, or reached the end of the pipeline.
   *
   * `duration` is the step's own time in milliseconds, from its start until it called `next()`: the
   * wait for its turn, a handshake, a lookup. It contains nothing of the steps inside it. A step
   * that the run never passes, such as the handler, has no such time.
   *
   * The run may be one whose `begin` the probe has not seen: it began before the probe was added,
   * or it is a client before its step `connect`, or a connection that another app passed on.
   */
  step?(ctx: Ctx, name: string, duration: number): void
}

/** Several probes as one, which never throws. */
export interface FoldedProbe<in Ctx> {
  begin(ctx: Ctx): void
  end(ctx: Ctx, end: ConnectionEnd): void
  /** Absent where no probe asks for it, so that the pipeline has nothing to measure. */
  readonly step: ((ctx: Ctx, name: string, duration: number) => void) | undefined
}

/** Gets what a probe threw. */
export type ReportProbe<Ctx> = (ctx: Ctx, thrown: unknown) => void

/** Folds probes into one; undefined without any. */
export function foldProbes<Ctx>(
  probes: readonly PipelineProbe<Ctx>[],
  failed: ReportProbe<Ctx>,
): FoldedProbe<Ctx> | undefined {
  if (probes.length === 0) return undefined
  const begin = probes.filter((probe) => 'begin' in probe)
  const end = probes.filter((probe) => 'end' in probe)
  const step = probes.filter((probe) => 'step' in probe)
  return {
    begin(ctx) {
      for (const probe of begin) {
        try {
          probe.begin!(ctx)
        } catch (thrown) {
          failed(ctx, thrown)
        }
      }
    },
    end(ctx, ended) {
      for (const probe of end) {
        try {
          probe.end!(ctx, ended)
        } catch (thrown) {
          failed(ctx, thrown)
        }
      }
    },
    step:
      step.length === 0
        ? undefined
        : (ctx, name, duration) => {
            for (const probe of step) {
              try {
                probe.step!(ctx, name, duration)
              } catch (thrown) {
                failed(ctx, thrown)
              }
            }
          },
  }
}

/** The probes of one pipeline. */
export class Probes<Ctx> {
  /** All of them as one; undefined without any. */
  folded: FoldedProbe<Ctx> | undefined
  #all: readonly PipelineProbe<Ctx>[] = []
  readonly #failed: ReportProbe<Ctx>

  constructor(failed: ReportProbe<Ctx>) {
    this.#failed = failed
  }

  /** Adds a probe, and returns a function that removes it; both call `changed`. */
  add(probe: PipelineProbe<Ctx>, changed: () => void): () => void {
    // The same probe may be added twice, and each removal takes one away.
    const added: PipelineProbe<Ctx> = {
      ...(probe.begin && { begin: (ctx) => probe.begin!(ctx) }),
      ...(probe.end && { end: (ctx, end) => probe.end!(ctx, end) }),
      ...(probe.step && { step: (ctx, name, duration) => probe.step!(ctx, name, duration) }),
    }
    const fold = (all: readonly PipelineProbe<Ctx>[]): void => {
      this.#all = all
      this.folded = foldProbes(all, this.#failed)
      changed()
    }
    fold([...this.#all, added])
    return () => fold(this.#all.filter((one) => one !== added))
  }
}
