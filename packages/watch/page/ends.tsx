/** Refused, and ended: why, and how many. */

import { useState } from 'preact/hooks'
import type { ClosedConnection } from '../src/ended.ts'
import { clock, count, duration, words } from '../src/format.ts'
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
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">why, and by which step</th>
              <th scope="col">who</th>
              <th scope="col" class="right">
                count
              </th>
              <th scope="col" class="right">
                last
              </th>
            </tr>
          </thead>
          <tbody>
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
                <td class="peer">
                  {group.verified ? group.who : (group.example.claimed ?? group.who ?? '–')}
                  {!group.verified && group.example.claimed !== null && (
                    <span class="claimed"> claimed</span>
                  )}
                </td>
                <td class="right">{count(group.count)}</td>
                <td class="right">{clock(group.last, view.time)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {view.refused.length === 0 && <p class="none">Nothing was refused.</p>}
      </div>
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
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">reason</th>
              <th scope="col">who</th>
              <th scope="col">message</th>
              <th scope="col" class="right">
                lived
              </th>
              <th scope="col" class="right">
                when
              </th>
            </tr>
          </thead>
          <tbody>
            {closed?.map((one) => (
              <tr key={`${one.id} ${one.ended}`}>
                <td>
                  <button type="button" class="link" onClick={() => onOpen(one.id)}>
                    {words(one.reason)}
                  </button>
                  <span class="at"> {one.step}</span>
                </td>
                <td class="peer">{one.peer ?? one.claimed ?? one.address ?? '–'}</td>
                <td class="message">{one.message ?? ''}</td>
                <td class="right">{duration(one.duration)}</td>
                <td class="right">{clock(one.ended, view.time)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {closed?.length === 0 && <p class="none">Nothing has ended yet.</p>}
      </div>
    </section>
  )
}
