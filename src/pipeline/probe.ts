/** Probes: they watch the runs of a pipeline without being a middleware in it. */

import type { ConnectionEnd } from '../connection-end.ts'
import { whenRejected } from '../thenable.ts'

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
   * wait for its turn, a handshake, a lookup. It does not include the steps inside it. A step that
   * the run never passes, such as the handler, has no such time.
   *
   * The probe may not have seen the `begin` of this run, in three cases: the run began before the
   * probe was added, it is a client before its step `connect`, or another app passed on the
   * connection.
   */
  step?(ctx: Ctx, name: string, duration: number): void
  /**
   * A call of `rpc` begins, in either direction. Call `run` once, before you return: it starts the
   * method, or sends the request, in the `AsyncLocalStorage` that you enter around it.
   */
  call?(ctx: Ctx, call: ProbedCall, run: () => void): void
  /** That call is over. */
  called?(ctx: Ctx, call: ProbedCall): void
}

/** A call of `rpc`, as a probe sees it. */
export interface ProbedCall {
  /** `server`: the peer calls a method of this side. `client`: this side calls one of the peer. */
  readonly side: 'server' | 'client'
  /** If `isKnown` is false, the peer may have chosen any name. */
  readonly method: string
  /** Whether this side has that method; always true for a call of this side. */
  readonly isKnown: boolean
  /** Undefined for a notification, which gets no response. */
  readonly id: string | number | null | undefined
  /**
   * The parameters as they were received or passed. For a call of this side, the method `call` of a
   * probe may replace them.
   */
  params: unknown
  /** The code of the error response, once the call is over; undefined for a result. */
  readonly code: number | undefined
  /** The error that the method threw, or with which the call rejected. */
  readonly error: Error | undefined
  /** Milliseconds from the start of the method, or from the call, to the response. */
  readonly duration: number
}

/** Several probes as one, which never throws. */
export interface FoldedProbe<in Ctx> {
  begin(ctx: Ctx): void
  end(ctx: Ctx, end: ConnectionEnd): void
  /** Undefined if no probe has `call` or `called`. Runs `run` once, whatever the probes do. */
  readonly call: ((ctx: Ctx, call: ProbedCall, run: () => void) => void) | undefined
  called(ctx: Ctx, call: ProbedCall): void
  /** Undefined if no probe has it. Then the pipeline measures nothing. */
  readonly step: ((ctx: Ctx, name: string, duration: number) => void) | undefined
}

/** Gets what a probe threw. */
export type ReportProbe<Ctx> = (ctx: Ctx, thrown: unknown) => void

function has<Ctx>(probe: PipelineProbe<Ctx>, method: keyof PipelineProbe<Ctx>): boolean {
  return probe[method] !== undefined
}

/** Folds probes into one; undefined without any. */
export function foldProbes<Ctx>(
  probes: readonly PipelineProbe<Ctx>[],
  failed: ReportProbe<Ctx>,
): FoldedProbe<Ctx> | undefined {
  if (probes.length === 0) return undefined
  const begin = probes.filter((probe) => has(probe, 'begin'))
  const end = probes.filter((probe) => has(probe, 'end'))
  const step = probes.filter((probe) => has(probe, 'step'))
  const call = probes.filter((probe) => has(probe, 'call'))
  const called = probes.filter((probe) => has(probe, 'called'))
  // The types do not keep a probe from being async.
  const heard = (ctx: Ctx, returned: unknown): void => {
    if (returned !== undefined) whenRejected(returned, (thrown) => failed(ctx, thrown))
  }
  const around = (index: number, ctx: Ctx, one: ProbedCall, run: () => void): void => {
    const probe = call[index]
    if (!probe) return run()
    let hasRun = false
    const inside = (): void => {
      if (hasRun) return
      hasRun = true
      around(index + 1, ctx, one, run)
    }
    try {
      heard(ctx, probe.call!(ctx, one, inside))
    } catch (thrown) {
      failed(ctx, thrown)
    }
    inside()
  }
  return {
    begin(ctx) {
      for (const probe of begin) {
        try {
          heard(ctx, probe.begin!(ctx))
        } catch (thrown) {
          failed(ctx, thrown)
        }
      }
    },
    end(ctx, ended) {
      for (const probe of end) {
        try {
          heard(ctx, probe.end!(ctx, ended))
        } catch (thrown) {
          failed(ctx, thrown)
        }
      }
    },
    call:
      call.length + called.length === 0 ? undefined : (ctx, one, run) => around(0, ctx, one, run),
    called(ctx, one) {
      for (const probe of called) {
        try {
          heard(ctx, probe.called!(ctx, one))
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
                heard(ctx, probe.step!(ctx, name, duration))
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
  #all: readonly { readonly probe: PipelineProbe<Ctx> }[] = []
  readonly #failed: ReportProbe<Ctx>

  constructor(failed: ReportProbe<Ctx>) {
    this.#failed = failed
  }

  /** Adds a probe, and returns a function that removes it; both call `changed`. */
  add(probe: PipelineProbe<Ctx>, changed: () => void): () => void {
    // The same probe may be added twice, and each removal takes one away.
    const added = { probe }
    const fold = (all: readonly { readonly probe: PipelineProbe<Ctx> }[]): void => {
      this.#all = all
      const probes = all.map((one) => one.probe)
      this.folded = foldProbes(probes, this.#failed)
      changed()
    }
    fold([...this.#all, added])
    return () => fold(this.#all.filter((one) => one !== added))
  }
}
