/** Refused, and ended: why, and how many. */

import { useState } from 'preact/hooks'
import type { ClosedConnection } from '../src/ended.ts'
import { clock, count, duration, words } from '../src/format.ts'
import { Table } from './panel.tsx'
import { type View, useAsked } from './state.ts'

export function Refused({
  view,
  onOpen,
}: {
  readonly view: View
  readonly onOpen: (id: number) => void
}) {
  return (
    <section class="panel refused" aria-label="Refused">
      <header>
        <h2>
          Refused <small data-figure="refused">{count(view.totals.refused)}</small>
        </h2>
      </header>
      <Table
        texts={['why, and by which step', 'peer']}
        figures={['count', 'last']}
        none={view.refused.length === 0 && 'Nothing was refused.'}
      >
        {view.refused.map((group) => (
          <tr key={`${group.step} ${group.reason} ${group.who}`}>
            <td>
              <button type="button" class="link" onClick={() => onOpen(group.example.id)}>
                {words(group.reason)}
              </button>
              <span class="at">
                {' '}
                {group.step} {group.at ?? ''}
              </span>
            </td>
            <Who
              peer={group.verified ? group.who : null}
              claimed={group.example.claimed}
              address={group.who}
            />
            <td class="right">{count(group.count)}</td>
            <td class="right">{clock(group.last, view.time)}</td>
          </tr>
        ))}
      </Table>
    </section>
  )
}

export function Ended({
  view,
  onOpen,
}: {
  readonly view: View
  readonly onOpen: (id: number) => void
}) {
  const [reason, setReason] = useState('')
  const closed = useAsked<readonly ClosedConnection[]>(
    `closed?limit=30${reason === '' ? '' : `&reason=${reason}`}`,
    view.time,
  )
  const reasons = Object.entries(view.ended).toSorted(([, a], [, b]) => b.all - a.all)
  return (
    <section class="panel ended" aria-label="Ended">
      <header>
        <h2>
          Ended <small data-figure="ended">{count(view.totals.ended)}</small>
        </h2>
      </header>
      <div class="chips" role="group" aria-label="By reason">
        {reasons.map(([one, { all, lately }]) => (
          <button
            key={one}
            type="button"
            class="chip"
            aria-pressed={one === reason}
            data-reason={one}
            onClick={() => setReason(one === reason ? '' : one)}
          >
            {words(one)} <b>{count(all)}</b>
            {lately > 0 && <span class="lately"> {count(lately)} lately</span>}
          </button>
        ))}
      </div>
      <Table
        texts={['reason', 'peer', 'message']}
        figures={['lived', 'when']}
        none={closed?.length === 0 && 'Nothing has ended yet.'}
      >
        {closed?.map((one) => (
          <tr key={`${one.id} ${one.ended}`}>
            <td>
              <button type="button" class="link" onClick={() => onOpen(one.id)}>
                {words(one.reason)}
              </button>
              <span class="at"> {one.step}</span>
            </td>
            <Who peer={one.peer} claimed={one.claimed} address={one.address} />
            <td class="message" title={one.message}>
              {causeIn(one.message)}
            </td>
            <td class="right">{duration(one.duration)}</td>
            <td class="right">{clock(one.ended, view.time)}</td>
          </tr>
        ))}
      </Table>
    </section>
  )
}

/** A name, which is marked where nothing has verified it. */
function Who({
  peer,
  claimed,
  address,
}: Readonly<Record<'peer' | 'claimed' | 'address', string | null>>) {
  return (
    <td class="peer">
      {peer ?? claimed ?? address ?? '–'}
      {peer === null && claimed !== null && <span class="claimed"> claimed</span>}
    </td>
  )
}

/** A message begins with the peer and the step, which the row has, and would be cut before its cause. */
function causeIn(message = ''): string {
  const place = message.indexOf(': ')
  return place < 0 ? message : message.slice(place + 2)
}
