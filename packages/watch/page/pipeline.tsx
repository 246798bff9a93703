/** The pipeline, with the connections in each step. */

import { useRef, useState } from 'preact/hooks'
import type { StepView } from '../src/views.ts'
import { count, duration, handled, words } from '../src/format.ts'
import type { View } from './state.ts'

const kinds = ['connection', 'server', 'client'] as const

export function Pipeline({
  view,
  onStep,
}: {
  readonly view: View
  readonly onStep: (step: string) => void
}) {
  const [kind, setKind] = useState<(typeof kinds)[number]>('connection')
  const steps = view.pipelines[kind]
  const flows = useFlows(view, steps)
  const open = kind === 'connection' ? view.totals.open : undefined
  const streams = handled(view)
  return (
    <section class="panel pipeline" aria-label="Pipeline">
      <header>
        <h2>Pipeline</h2>
        <div class="tabs" role="tablist" aria-label="Which pipeline">
          {kinds.map((one) => (
            <button
              key={one}
              role="tab"
              aria-selected={one === kind}
              onClick={() => setKind(one)}
              type="button"
            >
              {one}
            </button>
          ))}
        </div>
      </header>
      <ol class="steps">
        {steps.map((step, index) => (
          <Step
            key={step.name}
            step={step}
            flow={flows[index] ?? 0}
            most={Math.max(...steps.map(({ active }) => active), 1)}
            onOpen={kind === 'connection' ? () => onStep(step.name) : undefined}
          />
        ))}
        {open !== undefined && (
          <li class="end">
            <strong data-figure="open">{count(open)}</strong>
            <span>open</span>
            {streams > 0 && (
              <small title="streams inside other connections, and what app.handle() was given">
                <span data-figure="streams">{count(streams)}</span> as streams
              </small>
            )}
          </li>
        )}
      </ol>
    </section>
  )
}

function Step({
  step,
  flow,
  most,
  onOpen,
}: {
  readonly step: StepView
  readonly flow: number
  readonly most: number
  readonly onOpen: (() => void) | undefined
}) {
  const { name, active, p50, p99, ended, at, why } = step
  const ends = Object.entries(ended)
  const title = `${at}\n${why}`
  return (
    <li class={step.step ? 'step own' : 'step'} data-step={name}>
      <button type="button" class="box" title={title} disabled={!onOpen} onClick={onOpen}>
        <span class="name">{name}</span>
        <span class="active" data-figure="active">
          {count(active)}
        </span>
        <meter min={0} max={most} value={active} aria-label={`${active} in ${name}`} />
        <span class="times">
          {p50 === null ? (
            'not passed yet'
          ) : (
            <>
              <span>p50 {duration(p50)}</span> <span>p99 {duration(p99 ?? p50)}</span>
            </>
          )}
        </span>
        <span class="at">{at}</span>
      </button>
      <svg class="flow" viewBox="0 0 20 12" aria-hidden="true">
        <line x1="0" y1="6" x2="20" y2="6" stroke-width={Math.min(1 + Math.log2(1 + flow), 10)} />
      </svg>
      <ul class="ended-here">
        {ends.map(([reason, ends]) => (
          <li key={reason} data-reason={reason}>
            {count(ends)} {words(reason)}
          </li>
        ))}
      </ul>
    </li>
  )
}

/** How many pass each step a second, by the difference of two snapshots. */
function useFlows(view: View, steps: readonly StepView[]): number[] {
  const before = useRef(new Map<string, { time: number; passed: number; flow: number }>())
  return steps.map(({ name, passed }) => {
    const last = before.current.get(name)
    if (last?.time === view.time) return last.flow
    const seconds = last ? (view.time - last.time) / 1_000 : 0
    const flow = last && seconds > 0 ? Math.max(0, passed - last.passed) / seconds : 0
    before.current.set(name, { time: view.time, passed, flow })
    return flow
  })
}
