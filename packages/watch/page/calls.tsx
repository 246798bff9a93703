/** Calls of `rpc`: by method, and the slowest. */

import { clock, count, duration } from '../src/format.ts'
import { Table } from './panel.tsx'
import type { View } from './state.ts'

export function Calls({
  view: {
    calls: { methods, slowest },
    time,
  },
  onOpen,
}: {
  readonly view: View
  readonly onOpen: (id: number) => void
}) {
  if (methods.length === 0) return null
  return (
    <div class="two">
      <section class="panel calls" aria-label="Calls">
        <header>
          <h2>
            Calls{' '}
            <small data-figure="calls">
              {count(methods.reduce((sum, method) => sum + method.count, 0))}
            </small>
          </h2>
        </header>
        <Table
          texts={['method']}
          figures={['last minute', 'median', 'p99', 'failed', 'all']}
          none={false}
        >
          {methods.map(({ side, method, count: all, failed, lately, p50, p99 }) => (
            <tr key={`${side} ${method}`}>
              <td>
                <span class="peer">{method === '_OTHER' ? 'unknown methods' : method}</span>
                <span class="at"> {side === 'server' ? 'served' : 'called'}</span>
              </td>
              <td class="right">{count(lately)}</td>
              <td class="right">{p50 === null ? '–' : duration(p50)}</td>
              <td class="right">{p99 === null ? '–' : duration(p99)}</td>
              <td class={failed > 0 ? 'right bad' : 'right'}>{count(failed)}</td>
              <td class="right">{count(all)}</td>
            </tr>
          ))}
        </Table>
      </section>
      <section class="panel slowest" aria-label="Slowest calls">
        <header>
          <h2>Slowest calls of five minutes</h2>
        </header>
        <Table
          texts={['method', 'with']}
          figures={['took', 'when']}
          none={slowest.length === 0 && 'No call took 100 ms or more.'}
        >
          {slowest.map(({ side, method, connection, peer, duration: took, code, ended }) => (
            <tr key={`${connection} ${method} ${ended} ${took}`}>
              <td>
                <span class="peer">{method}</span>
                <span class="at"> {side === 'server' ? 'served' : 'called'}</span>
                {code !== null && <span class="bad"> {code}</span>}
              </td>
              <td>
                {side === 'server' ? (
                  <button type="button" class="link" onClick={() => onOpen(connection)}>
                    {peer ?? `connection ${connection}`}
                  </button>
                ) : (
                  (peer ?? `client ${connection}`)
                )}
              </td>
              <td class="right">{duration(took)}</td>
              <td class="right">{clock(ended, time)}</td>
            </tr>
          ))}
        </Table>
      </section>
    </div>
  )
}
