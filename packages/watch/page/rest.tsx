/** Certificates, bounds, clients, peers and generations. */

import { bytes, clock, count } from '../src/format.ts'
import { ListPanel } from './panel.tsx'
import type { View } from './state.ts'

const day = 86_400_000

export function Certificates({ view: { certificates, time } }: { readonly view: View }) {
  if (certificates.length === 0) return null
  return (
    <ListPanel title="Certificates">
      {certificates
        .toSorted((a, b) => a.expires - b.expires)
        .map(({ use, name, server, issuer, expires }) => {
          const days = Math.floor((expires - time) / day)
          return (
            <li key={`${server} ${use} ${name} ${expires}`} title={`issued by ${issuer}`}>
              <span class="peer">{name}</span>
              <span class="at"> {use}</span>
              <b class={days < 14 ? 'bad' : ''}>{days < 0 ? 'expired' : `${count(days)} days`}</b>
            </li>
          )
        })}
    </ListPanel>
  )
}

export function Bounds({ view: { bounds } }: { readonly view: View }) {
  if (bounds.length === 0) return null
  return (
    <ListPanel title="Bounds">
      {bounds.map(({ name, usage, limit }) => (
        <li key={name}>
          <span>{name}</span>
          <meter min={0} max={limit} value={usage} high={limit * 0.9} aria-label={name} />
          <b>
            {name === 'queued'
              ? `${bytes(usage)} of ${bytes(limit)}`
              : `${count(usage)} of ${count(limit)}`}
          </b>
        </li>
      ))}
    </ListPanel>
  )
}

export function Clients({ view: { clients } }: { readonly view: View }) {
  if (clients.length === 0) return null
  return (
    <ListPanel title="Clients">
      {clients.map(({ id, target, connected, step }) => (
        <li key={id}>
          <span>{target}</span>
          <span class="at"> {step}</span>
          <b class={connected ? 'good' : 'bad'}>{connected ? 'connected' : 'not connected'}</b>
        </li>
      ))}
    </ListPanel>
  )
}

export function Peers({ view: { peers } }: { readonly view: View }) {
  if (peers.length === 0) return null
  return (
    <ListPanel title="Peers, bytes a minute" label="Peers with most traffic">
      {peers.map(({ name, bytes: moved }) => (
        <li key={name}>
          <span class="peer">{name === '_OTHER' ? 'all others' : name}</span>
          <b>{bytes(moved)}</b>
        </li>
      ))}
    </ListPanel>
  )
}

export function Generations({ view }: { readonly view: View }) {
  const changes = view.generations.filter(
    ({ added, removed, running }) => added.length + removed.length > 0 || (running ?? 0) > 0,
  )
  return (
    <ListPanel title="Generations">
      {changes.map(({ pipeline, generation, seen, added, removed, at, running }) => (
        <li key={`${pipeline} ${generation} ${seen}`}>
          <span>
            {pipeline} {generation}
          </span>
          <span class="changes">
            {added.map((name, index) => (
              <span key={name} class="good" title={at[index] ?? ''}>
                +{name} <span class="at">{at[index]}</span>{' '}
              </span>
            ))}
            {removed.map((name) => (
              <span key={name} class="bad">
                −{name}{' '}
              </span>
            ))}
            {added.length + removed.length === 0 && <span class="at">as it was at first</span>}
          </span>
          <b>{running === null ? clock(seen, view.time) : `${count(running)} run on it`}</b>
        </li>
      ))}
    </ListPanel>
  )
}
