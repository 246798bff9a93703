/** Open connections: 50 at a time, sorted and filtered by the server. */

import { useState } from 'preact/hooks'
import type { ConnectionPage, ConnectionRow } from '../src/rows.ts'
import { bytes, count, duration } from '../src/format.ts'
import { useAsked } from './state.ts'

const columns = [
  ['step', 'step'],
  ['age', 'age'],
  ['rate', 'rate'],
  ['bytes', 'received / sent'],
  ['queued', 'queued'],
  ['idle', 'idle'],
] as const

type Sort = (typeof columns)[number][0]

const atOnce = 50

export function Connections({
  time,
  step,
  filter,
  onFilter,
  onStep,
  onOpen,
}: {
  readonly time: number
  readonly step: string
  readonly filter: string
  readonly onFilter: (filter: string) => void
  readonly onStep: (step: string) => void
  readonly onOpen: (id: number) => void
}) {
  const [sort, setSort] = useState<Sort>('rate')
  const [after, setAfter] = useState(0)
  const query = new URLSearchParams({ sort, filter, step, after: String(after) })
  const page = useAsked<ConnectionPage>(`connections?${query}`, time)
  const first = (): void => setAfter(0)
  return (
    <section class="panel connections" aria-label="Connections">
      <header>
        <h2>
          Connections <small data-figure="matching">{count(page?.matching ?? 0)}</small>
          {page && page.matching !== page.open && <small> of {count(page.open)}</small>}
        </h2>
        <div class="search">
          {step !== '' && (
            <button type="button" onClick={() => onStep('')} aria-label={`all steps, not ${step}`}>
              in {step} ✕
            </button>
          )}
          <input
            type="search"
            placeholder="name, address, id or generation 3"
            aria-label="Filter by name, address, id or generation"
            value={filter}
            onInput={({ currentTarget: { value } }) => {
              first()
              onFilter(value)
            }}
          />
        </div>
      </header>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">id</th>
              <th scope="col">peer</th>
              <th scope="col">address</th>
              {columns.map(([key, label]) => (
                <th
                  key={key}
                  scope="col"
                  class={key === 'step' ? '' : 'right'}
                  aria-sort={sort === key ? 'descending' : 'none'}
                >
                  <button
                    type="button"
                    onClick={() => {
                      first()
                      setSort(key)
                    }}
                  >
                    {label}
                    {sort === key ? ' ▾' : ''}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {page?.rows.map((row) => (
              <Line key={row.id} row={row} onOpen={() => onOpen(row.id)} />
            ))}
          </tbody>
        </table>
        {page?.matching === 0 && <p class="none">No open connection matches.</p>}
      </div>
      {page && page.matching > atOnce && (
        <nav class="pages" aria-label="Pages of connections">
          <button type="button" disabled={after === 0} onClick={() => setAfter(after - atOnce)}>
            ← back
          </button>
          <span>
            {count(after + 1)} to {count(Math.min(after + atOnce, page.matching))}
          </span>
          <button
            type="button"
            disabled={after + atOnce >= page.matching}
            onClick={() => setAfter(after + atOnce)}
          >
            more →
          </button>
        </nav>
      )}
    </section>
  )
}

function Line({ row, onOpen }: { readonly row: ConnectionRow; readonly onOpen: () => void }) {
  return (
    <tr>
      <td>
        <button type="button" class="link" onClick={onOpen}>
          {row.id}
        </button>
      </td>
      <td class="peer">{row.peer ?? '–'}</td>
      <td>{row.address ?? '–'}</td>
      <td>{row.step}</td>
      <td class="right">{duration(row.age)}</td>
      <td class="right">{bytes(row.rate)}/s</td>
      <td class="right">
        {bytes(row.rx)} / {bytes(row.tx)}
      </td>
      <td class="right">{bytes(row.queued)}</td>
      <td class="right">{row.idle === null ? '–' : duration(row.idle)}</td>
    </tr>
  )
}
