/** Certificates, bounds, clients, peers and generations. */

import { bytes, clock, count } from '../src/format.ts'
import type { View } from './state.ts'

const day = 86_400_000

export function Certificates({ view: { certificates, time } }: { readonly view: View }) {
  if (certificates.length === 0) return null
  return (
    <section class="panel certificates" aria-label="Certificates">
      <h2>Certificates</h2>
      <ul class="list">
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
      </ul>
    </section>
  )
}

export function Bounds({ view: { bounds } }: { readonly view: View }) {
  if (bounds.length === 0) return null
  return (
    <section class="panel bounds" aria-label="Bounds">
      <h2>Bounds</h2>
      <ul class="list">
        {bounds.map(({ name, usage, limit }) => (
          <li key={name}>
            <span>{name}</span>
            <meter min={0} max={limit} value={usage} high={limit * 0.9} aria-label={name} />
            <b>
              {count(usage)} of {count(limit)}
            </b>
          </li>
        ))}
      </ul>
    </section>
  )
}

export function Clients({ view: { clients } }: { readonly view: View }) {
  if (clients.length === 0) return null
  return (
    <section class="panel clients" aria-label="Clients">
      <h2>Clients</h2>
      <ul class="list">
        {clients.map(({ id, target, connected, step }) => (
          <li key={id}>
            <span>{target}</span>
            <span class="at"> {step}</span>
            <b class={connected ? 'good' : 'bad'}>{connected ? 'connected' : 'not connected'}</b>
          </li>
        ))}
      </ul>
    </section>
  )
}

export function Peers({ view: { peers } }: { readonly view: View }) {
  if (peers.length === 0) return null
  return (
    <section class="panel peers" aria-label="Peers with most traffic">
      <h2>Peers, bytes a minute</h2>
      <ul class="list">
        {peers.map(({ name, bytes: moved }) => (
          <li key={name}>
            <span class="peer">{name === '_OTHER' ? 'all others' : name}</span>
            <b>{bytes(moved)}</b>
          </li>
        ))}
      </ul>
    </section>
  )
}

export function Generations({ view }: { readonly view: View }) {
  const changes = view.generations.filter(
    ({ added, removed, running }) => added.length + removed.length > 0 || (running ?? 0) > 0,
  )
  return (
    <section class="panel generations" aria-label="Generations">
      <h2>Generations</h2>
      <ul class="list">
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
      </ul>
    </section>
  )
}
