/** The live page. */

import { render } from 'preact'
import { useState } from 'preact/hooks'
import { Calls } from './calls.tsx'
import { Charts } from './charts.tsx'
import { Connections } from './connections.tsx'
import { Ended, Refused } from './ends.tsx'
import { Explained } from './explained.tsx'
import { bytes, clock, count, duration, words } from '../src/format.ts'
import { Pipeline } from './pipeline.tsx'
import { Bounds, Certificates, Clients, Generations, Peers } from './rest.tsx'
import { type Link, type View, useLive } from './state.ts'

function Page() {
  const [isPaused, setPaused] = useState(false)
  const [step, setStep] = useState('')
  const [filter, setFilter] = useState('')
  const [shown, setShown] = useState<number>()
  const { view, rows, link } = useLive(isPaused)
  if (!view) return <p class="none">Waiting for the server …</p>
  return (
    <>
      <Head view={view} link={link} isPaused={isPaused} onPause={() => setPaused(!isPaused)} />
      {view.alarms.length > 0 && (
        <ul class="alarms" role="alert" aria-label="Alarms">
          {view.alarms.map(({ name, since, advice }) => (
            <li key={name} data-alarm={name}>
              <b>{words(name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`))}</b>{' '}
              {advice} <small>since {clock(since, view.time)}</small>
            </li>
          ))}
        </ul>
      )}
      <main>
        <Pipeline view={view} onStep={setStep} />
        <Charts rows={rows} />
        <div class="two">
          <Refused view={view} onOpen={setShown} />
          <Ended view={view} onOpen={setShown} />
        </div>
        <Calls view={view} onOpen={setShown} />
        <Connections
          time={view.time}
          step={step}
          filter={filter}
          onFilter={setFilter}
          onStep={setStep}
          onOpen={setShown}
        />
        <div class="many">
          <Certificates view={view} />
          <Bounds view={view} />
          <Clients view={view} />
          <Peers view={view} />
          <Generations view={view} />
        </div>
      </main>
      {shown !== undefined && (
        <Explained
          key={shown}
          id={shown}
          time={view.time}
          actions={view.actions ?? false}
          onClose={() => setShown(undefined)}
        />
      )}
    </>
  )
}

function Head({
  view,
  link,
  isPaused,
  onPause,
}: {
  readonly view: View
  readonly link: Link
  readonly isPaused: boolean
  readonly onPause: () => void
}) {
  const { servers, totals, since, time, pid, node } = view
  const state = link === 'lost' ? 'lost' : isPaused ? 'paused' : link
  return (
    <header class="head">
      <h1>
        cio <span>watch</span>
      </h1>
      <ul class="servers" aria-label="Servers">
        {servers.map(({ address, state: at, tls, connections, dropped }) => (
          <li key={address} class={at} data-state={at}>
            <b>{address}</b> {at}
            {tls ? ', TLS' : ''} · {count(connections)} open
            {dropped > 0 && <span class="bad"> · {count(dropped)} dropped</span>}
          </li>
        ))}
        {servers.length === 0 && <li class="draining">no server listens</li>}
      </ul>
      <dl>
        <Figure name="accepted" value={count(totals.accepted)} />
        <Figure name="received" value={bytes(totals.rx)} />
        <Figure name="sent" value={bytes(totals.tx)} />
        <Figure name="watched for" value={duration((time - since) / 1_000)} />
        <Figure name="process" value={`${pid}, Node ${node.slice(1)}`} />
      </dl>
      <span class={`link ${state}`} role="status">
        {state}
      </span>
      <button type="button" onClick={onPause} aria-pressed={isPaused}>
        {isPaused ? 'Resume' : 'Pause'}
      </button>
    </header>
  )
}

function Figure({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-figure={name}>{value}</dd>
    </div>
  )
}

render(<Page />, document.body)
