/** One connection in full: its way through the pipeline, what it is, and what it has moved. */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Explanation } from '../src/explain.ts'
import { bytes, clock, count, duration, marks, words } from '../src/format.ts'
import { useAsked } from './state.ts'

export function Explained({
  id,
  time,
  actions,
  onClose,
}: {
  readonly id: number
  readonly time: number
  readonly actions: boolean
  readonly onClose: () => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const found = useAsked<Explanation | null>(`explain?id=${id}`, time)
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} onClose={onClose} aria-label={`Connection ${id}`}>
      <header>
        <h2>Connection {id}</h2>
        <button type="button" onClick={onClose} aria-label="Close">
          ✕
        </button>
      </header>
      {found === null && <p>It is neither open nor remembered.</p>}
      {found && <Way found={found} />}
      {found && <Facts found={found} />}
      {found?.open && actions && <Actions id={id} />}
    </dialog>
  )
}

function Way({ found: { steps } }: { readonly found: Explanation }) {
  const all = steps.reduce((sum, { duration: took = 0 }) => sum + took, 0)
  let before = 0
  return (
    <ol class="way">
      {steps.map(({ name, at, outcome, duration: took }) => {
        const start = before
        before += took ?? 0
        return (
          <li key={name} class={outcome.replaceAll(' ', '-')}>
            <span class="mark" aria-hidden="true">
              {marks[outcome]}
            </span>
            <span class="name">{name}</span>
            <span class="outcome">
              {outcome === 'passed'
                ? took === undefined
                  ? 'passed'
                  : duration(took / 1_000)
                : outcome}
            </span>
            <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
              {took !== undefined && all > 0 && (
                <rect
                  x={(start / all) * 100}
                  width={Math.max((took / all) * 100, 0.7)}
                  height="6"
                />
              )}
            </svg>
            <span class="at">{at}</span>
          </li>
        )
      })}
    </ol>
  )
}

function Facts({ found: { open, ended } }: { readonly found: Explanation }) {
  const rows: (readonly [string, string | null | undefined])[] = open
    ? [
        ['peer', open.peer],
        ['address', open.address],
        ['server', open.server],
        ['open for', duration(open.age)],
        ['TLS', open.tls && `${open.tls}, ${open.cipher}${open.resumed ? ', resumed' : ''}`],
        ['protocol (ALPN)', open.alpn],
        ['issuer', open.certificate?.issuer],
        [
          'certificate expires',
          open.certificate && new Date(open.certificate.expires).toISOString(),
        ],
        ['fingerprint', open.certificate?.fingerprint256],
        ['received / sent', `${count(open.rx)} / ${count(open.tx)} bytes`],
        ['on the wire', `${count(open.wireRx)} / ${count(open.wireTx)} bytes`],
        ['queued', bytes(open.queued)],
        ['idle for', open.idle === null ? null : duration(open.idle)],
        ['generation', String(open.generation)],
      ]
    : [
        ['ended', ended && `${words(ended.reason)}, by the ${ended.by} side`],
        ['refused because', ended?.refusal && words(ended.refusal.why)],
        ['verdict', ended?.refusal?.verdict],
        ['peer', ended?.peer],
        ['claimed name (unverified)', ended?.claimed],
        ['address', ended?.address],
        ['code', ended?.code],
        ['message', ended?.message],
        ['when', ended && clock(ended.ended, Date.now())],
        ['lived for', ended && duration(ended.duration)],
        ['received / sent', ended && `${count(ended.rx)} / ${count(ended.tx)} bytes`],
      ]
  return (
    <dl class="facts">
      {rows
        .filter(([, value]) => value != null && value !== '')
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  )
}

function Actions({ id }: { readonly id: number }) {
  const [said, setSaid] = useState('')
  const act = async (action: 'end' | 'destroy'): Promise<void> => {
    try {
      const response = await fetch(`connections/${id}/${action}`, { method: 'POST' })
      setSaid(await response.text())
    } catch (error) {
      setSaid(String(error))
    }
  }
  return (
    <p class="actions">
      <button type="button" onClick={() => void act('end')}>
        End
      </button>
      <button type="button" class="danger" onClick={() => void act('destroy')}>
        Destroy
      </button>
      <span role="status">{said}</span>
    </p>
  )
}
